"""The restoration network in the box, and any other that is used without a classifier."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
import yaml

import covidssl.shipped
from covidssl.answers import Outcome
from covidssl.commands import finetune
from covidssl.config import load_config
from covidssl.errors import ScanError, UsageError, WeightsError
from covidssl.experiments import FinetuneConfig, PredictConfig
from covidssl.files import write_csv
from covidssl.finetuning import Places
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.inference.schema import answer_schema
from covidssl.lesion_model import BURDEN_THRESHOLD, NO_CLASSIFIER, LesionModel, load_answering
from covidssl.model import load_model
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.networks.unet import RestorationUNet
from covidssl.phantom import phantom_chest
from covidssl.prediction import AnswerPlan, Predictor, predict
from covidssl.randomness import initial_weights
from covidssl.report.page import build_report
from covidssl.report.predicted import NO_PROBABILITY
from covidssl.shipped import BUILTIN, FOLDER, shipped
from covidssl.starting import start_from, start_pretraining
from covidssl.volume import Volume
from covidssl.weights import (
    EncoderCard,
    Origin,
    load_encoder,
    load_restoration,
    save_encoder_file,
)
from tests.docker_steps import ROOT, ignored
from tests.inference.folders import ask, parquet_rows, rows_of
from tests.scan_files import chest_hu, lps_nifti

WORD = Path(BUILTIN)
MAPS = PredictConfig()
PLAN = EncoderPlan(channels=(8, 8), groups=4)
FRAME = Frame(size=32, pixels=Pixels.HU)


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work where nothing is called `builtin`."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chest with lesions, a chest without, and a file that holds no scan."""
    folder = tmp_path_factory.mktemp("scans")
    for name, ill in (("ill", True), ("well", False)):
        ct = phantom_chest(3, ill, (24, 72, 72), (11.0, 4.8, 4.8)).ct
        lps_nifti(folder / f"{name}.nii.gz", np.asarray(ct.array), 4.8)
    (folder / "broken.nii.gz").write_bytes(b"no scan")
    return folder


@pytest.fixture(scope="module")
def asked(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the network in the box says of them."""
    out = tmp_path_factory.mktemp("asked") / "out"
    assert ask(FOLDER, scans, out, config=MAPS) == 1
    return out


def write_restoration(folder: Path, pretext: str = "perlin", frame: Frame = FRAME) -> Path:
    """A restoration network that has learnt nothing, as a pretraining run leaves it."""
    with initial_weights(4):
        network = RestorationUNet(build_encoder(PLAN))
    origin = Origin(data_fingerprint="none", pictures=0, steps=0, seed=4)
    for holds, part in (("restoration", network), ("encoder", network.encoder)):
        card = EncoderCard(
            holds=holds, encoder=PLAN, pretext=pretext, frame=frame, trained_on=origin,
            metrics={}, sha256="",
        )  # fmt: skip
        save_encoder_file(folder / f"{holds}.safetensors", part, part.state_dict(), card)
    return folder


def test_the_box_gives_maps_and_burden_and_no_probability(asked: Path) -> None:
    rows = rows_of(asked)
    answered = {name: row for name, row in rows.items() if row["outcome"] in ("ok", "warned")}
    assert set(answered) == {"ill.nii.gz", "well.nii.gz"}
    empty = ("probability", "probability_low", "probability_high", "label", "distance")
    for row in rows.values():
        assert [row[column] for column in empty] == [""] * 5
    for row in answered.values():
        assert float(row["lung_ml"]) > 1000
        said = json.loads((asked / row["answer"]).read_text())
        assert said["probability"] is None
        assert said["label"] == ""
        assert said["no_probability"] == NO_CLASSIFIER
        assert said["burden"]["both"]["percent"] == pytest.approx(
            float(row["lesion_percent"]), abs=1e-3
        )
        assert (asked / said["files"]["lesion_map"]).is_file()
        assert not {"evidence_map", "strip_evidence"} & said["files"].keys()
    assert {row["probability"] for row in parquet_rows(asked)} == {None}


def test_a_broken_file_fails_as_with_any_model(asked: Path) -> None:
    row = rows_of(asked)["broken.nii.gz"]
    assert row["outcome"] == "failed"
    said = json.loads((asked / row["answer"]).read_text())
    assert said["no_probability"] == ""


def test_the_answers_keep_to_the_schema(asked: Path) -> None:
    for path in (asked / "scans").glob("*.json"):
        jsonschema.validate(json.loads(path.read_text()), answer_schema())


def test_the_run_says_what_was_asked(asked: Path) -> None:
    model = json.loads((asked / "run.json").read_text())["model"]
    assert model["format"] == "covidssl-lesions-1"
    assert "not for diagnosis" in model["intended_use"]
    card = json.loads((FOLDER / "restoration.json").read_text())
    assert model["network"] == card
    noted = json.loads((asked / "record.json").read_text())["data"]
    assert noted["restoration"] == card["sha256"]
    assert "classifier" not in noted


def test_the_window_is_told_once_of_the_model_and_warns_of_no_scan(asked: Path) -> None:
    answered = {name: row for name, row in rows_of(asked).items() if row["outcome"] != "failed"}
    # What is wrong with the scans themselves still is.
    assert {row["reason_codes"] for row in answered.values()} == {"slab"}
    (note,) = json.loads((asked / "run.json").read_text())["notes"]
    assert "scans in HU are shown to it through -1000 to 400 HU" in note


def test_the_page_says_that_there_is_no_probability_and_why(asked: Path, tmp_path: Path) -> None:
    build_report([asked], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert NO_PROBABILITY in page
    assert "The model learnt from windowed grey values" in page
    assert "Incomplete:" not in page
    choices = re.findall(r'<input type="radio" name="[^"]*-map" value="([a-z]+)"', page)
    assert choices == ["lesion", "off"]
    assert "<dt>Probability</dt>" not in page
    assert "to the logit" not in page
    assert "that decided" not in page
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    cells = re.findall(r'<bdi title="([^"]+)">.*?</tr>', body, flags=re.DOTALL)
    assert cells == ["ill.nii.gz", "well.nii.gz", "broken.nii.gz"]  # the most lesion first


def test_a_scan_without_lungs_has_no_answer_even_when_it_is_forced() -> None:
    rng = np.random.default_rng(0)
    noise = Volume(
        rng.integers(-20, 60, (12, 48, 48)).astype(np.int16), Pixels.HU, (10.0, 7.0, 7.0)
    )
    model = load_answering(WORD)
    for force in (False, True):
        predictor = Predictor([model], AnswerPlan(force=force))
        answer = predictor.answer(predictor.prepare(noise)).answer
        assert answer.outcome is Outcome.ABSTAINED
        assert "no_lungs" in {reason.code for reason in answer.reasons}
        assert (answer.burden, answer.probability, answer.no_probability) == (None, None, "")
    assert answer.reasons[0].code == "no_lesion_map"


def test_weights_that_give_no_number_are_told(tmp_path: Path) -> None:
    network, card = load_restoration(write_restoration(tmp_path / "run"))
    state = network.state_dict()
    spoilt = {name: torch.full_like(one, torch.nan) for name, one in state.items()}
    save_encoder_file(tmp_path / "run" / "restoration.safetensors", network, spoilt, card)
    model = load_answering(tmp_path / "run")
    predictor = Predictor([model])
    ct = phantom_chest(1, False, (12, 48, 48), (20.0, 7.2, 7.2)).ct
    with pytest.raises(ScanError, match="no finite number") as caught:
        predictor.answer(predictor.prepare(ct))
    assert caught.value.code == "no_answer"


@pytest.mark.parametrize(
    ("changed", "option"),
    [
        ({"augmentations": 3}, "--augmentations"),
        ({"backend": "onnx"}, "--backend onnx"),
        ({"maps": False}, "--no-maps"),
    ],
)
def test_options_that_need_a_classifier_are_refused(
    changed: dict[str, object], option: str, scans: Path, tmp_path: Path
) -> None:
    config = PredictConfig().model_copy(update=changed)
    with pytest.raises(UsageError, match=f"^{option}: the model is a restoration network alone"):
        ask(WORD, scans, tmp_path / "out", config=config)
    assert not (tmp_path / "out").exists()


def test_a_restoration_network_stands_in_no_ensemble(scans: Path, tmp_path: Path) -> None:
    other = write_restoration(tmp_path / "run")
    with pytest.raises(UsageError, match="^--ensemble: the model is a restoration network alone"):
        ask([WORD, other], scans, tmp_path / "out", config=MAPS)


def test_a_pretraining_run_answers_likewise(tmp_path: Path) -> None:
    run = write_restoration(tmp_path / "run")
    model = load_answering(run)
    assert isinstance(model, LesionModel)
    assert model.card.burden_threshold == BURDEN_THRESHOLD
    said = predict(run, phantom_chest(1, True, (12, 48, 48), (20.0, 7.2, 7.2)).ct)
    assert said.probability is None
    assert said.answer.burden is not None
    assert said.picture.startswith(b"\x89PNG")


def test_what_restores_no_lesions_gives_no_lesion_map(tmp_path: Path) -> None:
    run = write_restoration(tmp_path / "run", pretext="models_genesis")
    with pytest.raises(WeightsError, match="taught by models_genesis, .* no lesions"):
        load_answering(run)


@pytest.mark.parametrize("path", [WORD, FOLDER])
def test_where_a_classifier_is_needed_the_box_is_refused(path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no classifier.* `covidssl predict`, and no probab"):
        load_model(path)


def test_a_folder_of_that_name_is_not_taken_for_the_word(tmp_path: Path) -> None:
    own = write_restoration(Path("builtin").absolute())
    for load in (load_answering, load_model, load_encoder, shipped):
        with pytest.raises(UsageError, match="builtin: the word means .* lies in the working dir"):
            load(WORD)
    assert load_answering(own).sha256 != load_answering(FOLDER).sha256
    assert shipped(tmp_path / "builtin") == tmp_path / "builtin"


def test_a_box_that_is_damaged_or_missing_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(covidssl.shipped, "FOLDER", tmp_path / "box")
    weights, card = (tmp_path / "box" / f"restoration.{end}" for end in ("safetensors", "json"))

    def is_told(what: str) -> None:
        said = f"^builtin: .* not whole in this installation: .*{what}.* Install covidssl again"
        for load in (load_answering, load_model, load_encoder, load_restoration, shipped):
            with pytest.raises(WeightsError, match=said):
                load(WORD)

    is_told("restoration.json is missing")
    shutil.copytree(FOLDER, tmp_path / "box")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    is_told("restoration.safetensors was changed or cut short")
    weights.write_bytes(content[:1000])
    is_told("restoration.safetensors was changed or cut short")
    weights.unlink()
    is_told("restoration.safetensors is missing")
    shutil.copy(FOLDER / "restoration.safetensors", weights)
    card.write_text(card.read_text()[:100])
    is_told("restoration.json was changed or cut short")


def test_a_file_where_a_folder_is_expected_is_told(tmp_path: Path) -> None:
    run = write_restoration(tmp_path / "run")
    with pytest.raises(WeightsError, match=f"is a file; .* lies in: {run}\\. "):
        load_answering(run / "restoration.safetensors")


def test_the_word_is_the_encoder_of_the_network_in_the_box() -> None:
    encoder, card = load_encoder(BUILTIN)
    whole, its_card = load_restoration(FOLDER)
    assert (card.holds, card.sha256) == ("encoder", its_card.sha256)
    theirs = whole.encoder.state_dict()
    assert all(torch.equal(one, theirs[name]) for name, one in encoder.state_dict().items())


def test_fine_tuning_starts_from_the_box(tmp_path: Path) -> None:
    rows = []
    for k, split in enumerate(("train",) * 4 + ("validation",) * 2 + ("test",) * 2):
        hu = chest_hu(3, 48, seed=k)
        hu[1, 18:30, 10:18] += 500 * (k % 2)
        lps_nifti(tmp_path / "set" / f"s{k}.nii.gz", hu)
        label = "COVID" if k % 2 else "normal"
        rows.append({"path": f"s{k}.nii.gz", "label": label, "patient": k, "split": split})
    labels = tmp_path / "set" / "labels.csv"
    write_csv(labels, ("path", "label", "patient", "split"), rows)
    quick = ("training.steps=1", "training.batch_size=2", "training.warmup_steps=0",
             "validate_every=1", "aggregation.most_slices=1")  # fmt: skip
    config = load_config(FinetuneConfig, None, quick)
    run = finetune.main(config, labels, Places(tmp_path / "run", WORD, device="cpu"))
    model, (network, card) = load_model(run), load_restoration(FOLDER)
    assert (model.card.pretrained_from, model.card.frame) == (card.sha256, card.frame)
    assert model.card.licence_note == card.licence_note
    assert model.restoration is not None
    kept, theirs = model.restoration.state_dict(), network.state_dict()
    assert all(torch.equal(kept[name], one) for name, one in theirs.items())


def test_pretraining_goes_on_from_the_box() -> None:
    network, card = load_restoration(FOLDER)
    assert card.frame is not None
    with initial_weights(1):
        drawn = RestorationUNet(build_encoder(card.encoder), card.lesion_map)
    assert start_pretraining(drawn, WORD, card.frame, card.encoder).sha256 == card.sha256
    theirs = network.state_dict()
    assert all(torch.equal(one, theirs[name]) for name, one in drawn.state_dict().items())


def test_a_frame_that_the_box_was_not_taught_on_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"not trained on what the configuration says.*frame\.size"
    ):
        start_from(WORD, FRAME, None, 0)


def test_nothing_keeps_the_weights_out_of_repository_wheel_and_image() -> None:
    path = "covidssl/builtin/restoration.safetensors"
    # What Git ignores is left out of the wheel, too.
    rules = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert rules.index("*.safetensors") < rules.index(f"!{path}")
    assert not ignored(path)
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    sized = [
        hook
        for repo in hooks["repos"]
        for hook in repo["hooks"]
        if hook["id"] == "check-added-large-files"
    ]
    assert [bool(re.search(hook.get("exclude", "^$"), path)) for hook in sized] == [True]
    assert not re.search(sized[0]["exclude"], "covidssl/other.safetensors")
