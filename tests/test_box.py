"""`pipelines.box`: what may ship with the package, and what its card says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from covidssl.commands import prepare
from covidssl.errors import DataError, UsageError
from covidssl.experiments import PrepareConfig
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.lesion_model import BURDEN_THRESHOLD, load_answering
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.networks.unet import RestorationUNet
from covidssl.randomness import initial_weights
from covidssl.store import Store
from covidssl.weights import LICENCE_NOTE, EncoderCard, Origin, save_encoder_file
from pipelines.box import LICENCES, MOST_BYTES, SCORES, main
from pipelines.localising.protocol import PROTOCOL
from tests.scan_files import chest_grey, write_png

PLAN = EncoderPlan(channels=(8, 8), groups=4)
FRAME = Frame(size=32, pixels=Pixels.WINDOWED)
UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001"
MEASURED = {"value": 0.61, "low": 0.52, "high": 0.7}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two pictures that are called as slices of LUNA16 are."""
    root = tmp_path_factory.mktemp("box")
    for number in range(2):
        write_png(root / "luna16" / f"{UID}.{number}7.mhd_10{number}.png", chest_grey(64, number))
    prepare.main(PrepareConfig(), [root / "luna16"], root / "store")
    return root / "store"


def write_run(folder: Path, store: Path, plan: EncoderPlan = PLAN, **record: object) -> str:
    """A finished run of a network that has learnt nothing; gives the SHA-256 of its weights."""
    fingerprint = Store.open(store).fingerprint
    with initial_weights(4):
        network = RestorationUNet(build_encoder(plan))
    card = EncoderCard(
        holds="restoration", encoder=plan, pretext="perlin", frame=FRAME,
        trained_on=Origin(data_fingerprint=fingerprint, pictures=2, steps=1, seed=4),
        metrics={}, sha256="",
    )  # fmt: skip
    file = folder / "restoration.safetensors"
    written = save_encoder_file(file, network, network.state_dict(), card)
    data = {"store": fingerprint, "init": "none", "probe": "none"}
    said = {"verb": "pretrain", "status": "done", "data": data} | record
    (folder / "record.json").write_text(json.dumps(said))
    return written.sha256


def write_record(path: Path, sha256: str, **changed: Any) -> Path:
    """A record as `pipelines.localise` writes it."""
    record = {
        "format": "covidssl-localisation-1", "name": "ours", "threshold": 0.11,
        "protocol": "Made-up cases, intervals by resampling runs of slices.",
        "cases": {
            "2": {"above_percent": 1.2, "ap": MEASURED, "best_dice": MEASURED},
            "4": {"above_percent": 3.4, "ap": MEASURED, "dice": MEASURED},
            "6": {"above_percent": 0.1},
        },
        "pretraining": {"weights_sha256": sha256, "seed": 4},
    }  # fmt: skip
    path.write_text(json.dumps(record | changed))
    return path


def test_a_run_on_luna16_goes_into_the_box_with_its_licences(store: Path, tmp_path: Path) -> None:
    sha256 = write_run(tmp_path / "run", store)
    main(tmp_path / "run", store, tmp_path / "builtin")
    model = load_answering(tmp_path / "builtin")
    assert model.sha256 == sha256
    card = json.loads((tmp_path / "builtin" / "restoration.json").read_text())
    assert (card["licence_note"], card["localised"]) == (LICENCES, None)
    page = (tmp_path / "builtin" / "MODEL.md").read_text()
    assert "Not measured yet" in page
    assert "CC BY 4.0" in page


def test_the_card_says_how_well_it_localises(store: Path, tmp_path: Path) -> None:
    sha256 = write_run(tmp_path / "run", store)
    record = write_record(tmp_path / "record.json", sha256)
    main(tmp_path / "run", store, tmp_path / "builtin", record)
    page = (tmp_path / "builtin" / "MODEL.md").read_text()
    assert "\n| case | AP | interval | Dice | interval |\n|---|--:|---|--:|---|\n" in page
    assert "\n| 2 | 0.610 | 0.520 to 0.700 | – | – |\n" in page
    assert "\n| 4 | 0.610 | 0.520 to 0.700 | 0.610 | 0.520 to 0.700 |\n" in page
    assert "| 6 |" not in page
    assert "intervals by resampling runs of slices" in page
    assert "Not measured yet" not in page
    assert "Dice was measured at a threshold of 0.11 network units." in page
    assert "`covidssl predict` have another: 0.15, as for every model" in page
    assert load_answering(tmp_path / "builtin").card.burden_threshold == BURDEN_THRESHOLD == 0.15


def test_the_card_marks_the_cases_that_were_for_design(store: Path, tmp_path: Path) -> None:
    sha256 = write_run(tmp_path / "run", store)
    cases = {number: {"ap": MEASURED} for number in "123467"}
    record = write_record(tmp_path / "record.json", sha256, cases=cases)
    main(tmp_path / "run", store, tmp_path / "builtin", record)
    page = (tmp_path / "builtin" / "MODEL.md").read_text()
    rows = [line.split(" | ")[0].strip("| ") for line in page.splitlines() if " to 0.700 |" in line]
    assert rows == ["1 (design)", "2", "3 (design)", "4", "6 (design)", "7"]
    assert "Cases marked *design* served to make the map" in page


def test_the_protocol_says_which_labels_have_a_part_in_the_threshold() -> None:
    assert "no label of a real lesion" not in PROTOCOL
    assert "dense was chosen by cases 1 and 3" in PROTOCOL
    assert "those of cases 2, 4, 7 have none" in PROTOCOL


def test_the_licences_do_not_hide_the_terms_of_what_is_learnt_later() -> None:
    assert LICENCES.startswith("The network in the box learnt from slices of LUNA16")
    assert LICENCES.endswith(LICENCE_NOTE)


def test_the_card_takes_what_a_record_of_a_measurement_holds(store: Path, tmp_path: Path) -> None:
    sha256 = write_run(tmp_path / "run", store)
    row = {"above_percent": 2.0, **dict.fromkeys(SCORES, MEASURED), "without_faint": {}}
    record = write_record(tmp_path / "record.json", sha256, cases={"7": row})
    main(tmp_path / "run", store, tmp_path / "builtin", record)
    card = json.loads((tmp_path / "builtin" / "restoration.json").read_text())
    assert card["localised"]["cases"] == {"7": dict.fromkeys(SCORES, MEASURED)}
    page = (tmp_path / "builtin" / "MODEL.md").read_text()
    assert "by how much it is above that of smoothed brightness" in page


def test_a_record_of_other_weights_is_refused(store: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "run", store)
    record = write_record(tmp_path / "record.json", "0" * 64)
    with pytest.raises(UsageError, match="was measured of other weights"):
        main(tmp_path / "run", store, tmp_path / "builtin", record)
    assert not (tmp_path / "builtin").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"cases": {}},
        {"cases": {"2": {"ap": {"value": 0.5}}}},
        {"threshold": None},
        {"protocol": ""},
    ],
)
def test_a_record_without_intervals_or_protocol_is_refused(
    changed: dict[str, Any], store: Path, tmp_path: Path
) -> None:
    record = write_record(tmp_path / "r.json", write_run(tmp_path / "run", store), **changed)
    with pytest.raises(UsageError, match="is no record of a localisation"):
        main(tmp_path / "run", store, tmp_path / "builtin", record)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"status": "stopped"}, "status is stopped, expected done"),
        ({"verb": "finetune"}, "verb is finetune, expected pretrain"),
        ({"data": {"store": "another"}}, "store is another, expected"),
    ],
)
def test_a_run_that_is_not_done_or_of_other_data_is_refused(
    record: dict[str, Any], said: str, store: Path, tmp_path: Path
) -> None:
    write_run(tmp_path / "run", store, **record)
    with pytest.raises(UsageError, match=said):
        main(tmp_path / "run", store, tmp_path / "builtin")


@pytest.mark.parametrize("key", ["init", "probe"])
def test_a_run_from_other_weights_or_with_labels_is_refused(
    key: str, store: Path, tmp_path: Path
) -> None:
    data = {"store": Store.open(store).fingerprint, key: "a" * 64}
    write_run(tmp_path / "run", store, data=data)
    with pytest.raises(UsageError, match=f"{key} is a+, expected none"):
        main(tmp_path / "run", store, tmp_path / "builtin")


def test_a_store_with_other_scans_is_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "in" / f"{UID}.17.mhd_100.png", chest_grey(64, 1))
    write_png(tmp_path / "in" / "clinic-7.png", chest_grey(64, 2))
    prepare.main(PrepareConfig(), [tmp_path / "in"], tmp_path / "store")
    write_run(tmp_path / "run", tmp_path / "store")
    with pytest.raises(DataError, match=r"1 scans are not called .* LUNA16 .*clinic-7\.png"):
        main(tmp_path / "run", tmp_path / "store", tmp_path / "builtin")
    assert not (tmp_path / "builtin").exists()


def test_a_network_that_is_too_large_is_refused(store: Path, tmp_path: Path) -> None:
    wide = EncoderPlan(channels=(8, 512), groups=4)
    write_run(tmp_path / "run", store, wide)
    assert (tmp_path / "run" / "restoration.safetensors").stat().st_size > MOST_BYTES
    with pytest.raises(UsageError, match=r"at most 5,000,000 ship .* smaller network"):
        main(tmp_path / "run", store, tmp_path / "builtin")
    assert not (tmp_path / "builtin").exists()
