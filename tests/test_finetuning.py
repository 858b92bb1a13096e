"""`finetune` with every head, with all or part of the network learning, and with bad input."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from covidssl.commands import evaluate, finetune, report
from covidssl.config import load_config
from covidssl.errors import CovidsslError, DataError, UsageError, WeightsError
from covidssl.experiments import EvaluateConfig, FinetuneConfig
from covidssl.files import read_csv, write_csv
from covidssl.finetuning import Places
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.model import load_model
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.networks.unet import RestorationUNet
from covidssl.prediction import predict
from covidssl.randomness import initial_weights, torch_generator
from covidssl.rehearsal import rehearse_finetuning
from covidssl.starting import start_from
from covidssl.weights import (
    LICENCE_NOTE,
    EncoderCard,
    Origin,
    load_encoder,
    read_card,
    save_encoder_file,
)
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_png

FRAME = Frame(size=32, pixels=Pixels.HU)
PLAN = EncoderPlan(channels=(8, 8), groups=4)
SPLITS = ("train",) * 6 + ("validation",) * 4 + ("test",) * 2
QUICK = (
    "training.steps=3", "training.batch_size=4", "training.warmup_steps=1", "validate_every=2",
    "checkpoint_every=2", "aggregation.most_slices=4", "training.learning_rate=1e-3",
)  # fmt: skip


def write_encoder(folder: Path, frame: Frame | None = FRAME, plan: EncoderPlan = PLAN) -> Path:
    """An encoder that has learnt nothing."""
    with initial_weights(7):
        encoder = build_encoder(plan)
    card = EncoderCard(
        holds="encoder",
        encoder=plan,
        frame=frame,
        trained_on=Origin(data_fingerprint="none", pictures=0, steps=0, seed=7),
        metrics={},
        foreign="" if frame else "another project's network",
        licence_note="Terms of the other project." if not frame else LICENCE_NOTE,
        sha256="",
    )
    save_encoder_file(folder / "encoder.safetensors", encoder, encoder.state_dict(), card)
    return folder


class Bench:
    """A labelled set of twelve scans of five slices, an encoder, and fine-tuning on them."""

    def __init__(self, root: Path) -> None:
        self.root, self.labels = root, root / "set" / "labels.csv"
        self.encoder = write_encoder(root / "encoder")
        rows = []
        for k, split in enumerate(SPLITS):
            ill = bool(k % 2)
            hu = chest_hu(5, 48, seed=k)
            hu[1 + k % 3, 18:30, 10:18] += 500 * ill
            lps_nifti(self.labels.parent / f"s{k}.nii.gz", hu)
            label = "COVID" if ill else "normal"
            rows.append({"path": f"s{k}.nii.gz", "label": label, "patient": k, "split": split})
        self.rows = rows
        self.table(rows, self.labels)

    def table(self, rows: list[dict[str, object]], path: Path) -> Path:
        write_csv(path, ("path", "label", "patient", "split"), rows)
        return path

    def tune(
        self, out: Path, *settings: str, encoder: Path | None = None, data: Path | None = None,
        init: Path | None = None,
    ) -> Path:  # fmt: skip
        config = load_config(FinetuneConfig, None, [*QUICK, *settings])
        places = Places(out, encoder or self.encoder, init, self.root / "cache", device="cpu")
        return finetune.main(config, data or self.labels, places)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def by_attention(bench: Bench) -> Path:
    return bench.tune(bench.root / "attention", "head.kind=attention")


@pytest.fixture(scope="module")
def by_linear(bench: Bench) -> Path:
    return bench.tune(bench.root / "linear")


def same_encoder(run: Path, encoder: Path) -> bool:
    before = load_encoder(encoder)[0].state_dict()
    after = load_model(run).classifier.encoder.state_dict()
    return all(torch.equal(tensor, before[name]) for name, tensor in after.items())


def test_the_card_says_the_head_the_rule_and_what_learnt(by_attention: Path) -> None:
    card = json.loads((by_attention / "model" / "card.json").read_text())
    assert card["head"] == {"kind": "attention", "attention_features": 64}
    assert card["aggregation"] == {"rule": "attention", "most_slices": 4}
    assert (card["learns"], card["frozen_levels"]) == ("all", 0)


def test_the_card_says_how_it_was_asked_to_calibrate(bench: Bench, tmp_path: Path) -> None:
    settings = ("learns=probe", "calibration=temperature", "operating_point.kind=sensitivity")
    card = load_model(bench.tune(tmp_path / "run", *settings)).card
    assert card.calibration.kind == "temperature"
    # Four validation scans are too few to fit anything on.
    assert card.operating_point_rule.startswith("0.5, since validation holds 2 patients")


def test_a_prediction_with_attention_says_which_slices_decided(
    bench: Bench, by_attention: Path
) -> None:
    model = load_model(by_attention)
    with torch.no_grad():  # the best weights of so short a run may be those of the probe
        model.classifier.attention.score.weight.normal_(generator=torch_generator(1))
    said = predict(model, bench.labels.parent / "s10.nii.gz")
    weights = [one.weight for one in said.answer.slices]
    assert said.maps is not None
    assert [one.slice for one in said.answer.slices] == list(said.maps.slices)
    assert sum(weights) == pytest.approx(1)
    assert np.ptp(weights) > 1e-6
    assert said.picture.startswith(b"\x89PNG")


def test_a_rehearsal_of_attention_counts_its_scans(bench: Bench, tmp_path: Path) -> None:
    config = load_config(FinetuneConfig, None, [*QUICK, "head.kind=attention"])
    places = Places(tmp_path / "run", bench.encoder, cache=bench.root / "cache")
    lines = {line.what: line.found for line in rehearse_finetuning(config, bench.labels, places)}
    assert lines["train"].startswith("6 scans (3 normal, 3 COVID)")
    assert {"batch", "memory", "speed"} <= lines.keys()
    assert not (tmp_path / "run").exists()


def test_evaluate_and_predict_agree_with_attention(
    bench: Bench, by_attention: Path, tmp_path: Path
) -> None:
    evaluate.main(EvaluateConfig(rounds=100, rival=False), by_attention, bench.labels, tmp_path)
    for row in read_csv(tmp_path / "predictions.csv"):
        said = predict(by_attention, bench.labels.parent / row["scan"])
        assert float(row["probability"]) == pytest.approx(said.probability, abs=1e-5)


def test_fine_tuning_goes_on_from_a_model_with_attention(
    bench: Bench, by_attention: Path, tmp_path: Path
) -> None:
    bench.tune(tmp_path / "more", "head.kind=attention", init=by_attention)
    with pytest.raises(UsageError, match="head is attention .*and the configuration's is linear"):
        bench.tune(tmp_path / "other", init=by_attention)


def write_restoration(folder: Path) -> None:
    """A restoration network, as it is drawn, beside an encoder."""
    with initial_weights(8):
        network = RestorationUNet(build_encoder(PLAN), "bottleneck")
    card = read_card(folder / "encoder.json", EncoderCard).model_copy(
        update={"holds": "restoration", "lesion_map": "bottleneck"}
    )
    save_encoder_file(folder / "restoration.safetensors", network, network.state_dict(), card)


def test_a_model_that_goes_on_from_another_keeps_what_that_one_was_made_of(
    bench: Bench, tmp_path: Path
) -> None:
    encoder = write_encoder(tmp_path / "encoder")
    write_restoration(encoder)
    first = load_model(bench.tune(tmp_path / "first", encoder=encoder))
    frame = ("frame.size=32", "frame.pixels=hu", "encoder.channels=[8,8]", "encoder.groups=4")
    config = load_config(FinetuneConfig, None, [*QUICK, *frame])
    places = Places(tmp_path / "on", None, tmp_path / "first", bench.root / "cache", device="cpu")
    run = finetune.main(config, bench.labels, places)
    model = load_model(run)
    assert model.card.pretrained_from == first.card.pretrained_from != "none"
    assert model.card.continues == first.card.files["classifier.safetensors"]
    assert model.card.continues in (run / "model" / "MODEL.md").read_text()
    assert model.card.lesion_map == "bottleneck"
    assert (
        model.card.files["restoration.safetensors"] == first.card.files["restoration.safetensors"]
    )
    assert json.loads((run / "record.json").read_text())["summary"]["start"] == "pretrained"


def test_with_learns_head_the_encoder_stays_as_it_came(bench: Bench, tmp_path: Path) -> None:
    run = bench.tune(tmp_path / "run", "learns=head", "training.ema_decay=0.5")
    assert same_encoder(run, bench.encoder)
    card = load_model(run).card
    assert (card.learns, card.frozen_levels) == ("head", 2)


def test_with_frozen_levels_only_deeper_ones_learn(bench: Bench, tmp_path: Path) -> None:
    settings = ("frozen_levels=1", "validate_every=1", "training.learning_rate=1e-2")
    run = bench.tune(tmp_path / "run", *settings)
    before = load_encoder(bench.encoder)[0].state_dict()
    # The last checkpoint, since the best weights may be those of the probe.
    from safetensors.torch import load_file

    after = load_file(max((run / "checkpoints").glob("*.safetensors")))
    same = {n for n in before if torch.equal(after[f"network.encoder.{n}"], before[n])}
    assert same == {name for name in before if name.startswith("levels.0.")}


def test_with_learns_probe_the_model_is_the_fitted_probe(bench: Bench, tmp_path: Path) -> None:
    run = bench.tune(tmp_path / "run", "learns=probe")
    assert same_encoder(run, bench.encoder)
    assert not (run / "checkpoints").exists()
    assert [row["step"] for row in read_csv(run / "validation.csv")] == ["0"]
    card = load_model(run).card
    assert (card.learns, card.trained_on.steps, card.frozen_levels) == ("probe", 0, 2)
    report.main([run], tmp_path / "report.html")
    assert "Linear probe" in (tmp_path / "report.html").read_text()


def test_the_same_probe_comes_out_twice(bench: Bench, tmp_path: Path) -> None:
    first, second = (bench.tune(tmp_path / name, "learns=probe") for name in ("a", "b"))
    files = [run / "model" / "classifier.safetensors" for run in (first, second)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_an_encoder_with_batch_statistics_is_fine_tuned(bench: Bench, tmp_path: Path) -> None:
    plan = EncoderPlan(channels=(8, 8), norm="batch")
    encoder = write_encoder(tmp_path / "encoder", plan=plan)
    bench.tune(tmp_path / "all", encoder=encoder)
    run = bench.tune(tmp_path / "head", "learns=head", "head.kind=attention", encoder=encoder)
    assert same_encoder(run, encoder)


def test_weights_from_elsewhere_take_the_configurations_frame_and_keep_their_terms(
    bench: Bench, tmp_path: Path
) -> None:
    encoder = write_encoder(tmp_path / "foreign", frame=None)
    settings = ("frame.size=32", "frame.pixels=hu", "frame.margin=0.2", "encoder.channels=[8,8]")
    run = bench.tune(tmp_path / "run", *settings, "encoder.groups=4", encoder=encoder)
    card = load_model(run).card
    assert card.frame == Frame(size=32, pixels=Pixels.HU, margin=0.2)
    assert card.licence_note == "Terms of the other project."
    with pytest.raises(UsageError, match=r"takes slices .* frame.depth is 16. Leave frame.depth"):
        start_from(encoder, Frame(size=32, depth=16), None, 0)


def test_a_card_from_before_there_were_heads_is_of_a_linear_one(
    by_linear: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(by_linear / "model", tmp_path / "model")
    card = json.loads((folder / "card.json").read_text())
    for key in ("head", "learns", "frozen_levels"):
        del card[key]
    (folder / "card.json").write_text(json.dumps(card))
    assert load_model(folder).card == load_model(by_linear).card


def test_fewer_scans_than_a_batch_learn_with_a_warning(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench.tune(tmp_path / "run", "head.kind=attention", "training.batch_size=8")
    assert "Only 6 scans to learn from, fewer than training.batch_size 8" in caplog.text
    assert (tmp_path / "run" / "model" / "card.json").is_file()


BAD_SETTINGS = {
    "head.kind=attention aggregation.rule=mean": "head.kind attention does not go with",
    "aggregation.rule=attention": "head.kind linear does not go with aggregation.rule attention",
    "aggregation.rule=whole_volume": "these frames are slices, of which a scan has many",
    "learns=head frozen_levels=1": "leave frozen_levels out",
    "frozen_levels=3": "frozen_levels 3: the encoder has 2 levels",
    "frame.pixels=windowed": r"frame\.pixels: windowed -> hu",
    "encoder.channels=[8,16] encoder.groups=4": r"encoder\.channels: .*8, 16.* -> .*8, 8",
    "frame.depth=8 frame.pixels=hu frame.size=32 encoder.dimensions=3": r"frame\.depth: 8 -> None",
    "positive_class=COVD": "Did you mean 'COVID'",
    "learns=everything": "learns: Input should be 'all', 'head' or 'probe'",
}


@pytest.mark.parametrize("settings", BAD_SETTINGS)
def test_settings_that_cannot_be_are_told_before_anything_is_written(
    bench: Bench, tmp_path: Path, settings: str
) -> None:
    with pytest.raises(CovidsslError, match=BAD_SETTINGS[settings]):
        bench.tune(tmp_path / "run", *settings.split())
    assert not (tmp_path / "run").exists()


def test_an_encoder_of_volumes_is_not_put_on_slices_nor_one_of_slices_on_volumes(
    bench: Bench, tmp_path: Path
) -> None:
    plan = PLAN.model_copy(update={"dimensions": 3})
    volumes = write_encoder(tmp_path / "volumes", FRAME.model_copy(update={"depth": 8}), plan)
    with pytest.raises(UsageError, match=r"frame\.depth: None -> 8"):
        bench.tune(tmp_path / "run", "frame.size=32", "frame.pixels=hu", encoder=volumes)
    with pytest.raises(UsageError, match="attention goes over the slices of a scan; .* volumes"):
        bench.tune(tmp_path / "run", "head.kind=attention", encoder=volumes)


@pytest.mark.parametrize(
    ("damage", "message"),
    [("cut", "no readable safetensors file, perhaps cut short"), ("changed", "SHA-256 differs")],
)
def test_an_encoder_that_was_tampered_with_is_refused(
    bench: Bench, tmp_path: Path, damage: str, message: str
) -> None:
    file = write_encoder(tmp_path / "encoder") / "encoder.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content[:-40] if damage == "cut" else content)
    with pytest.raises(WeightsError, match=message):
        bench.tune(tmp_path / "run", encoder=file.parent)
    assert not (tmp_path / "run").exists()


def test_one_class_alone_is_refused(bench: Bench, tmp_path: Path) -> None:
    rows = [row for row in bench.rows if row["label"] == "COVID"]
    with pytest.raises(DataError, match=r"found 1: COVID \(6\). .* give scans of the other class"):
        bench.tune(tmp_path / "run", data=bench.table(rows, bench.labels.parent / "one.csv"))
    assert not (tmp_path / "run").exists()


def test_a_split_without_scans_is_refused(bench: Bench, tmp_path: Path) -> None:
    rows = [row for row in bench.rows if row["split"] != "validation"]
    data = bench.table(rows, bench.labels.parent / "none.csv")
    with pytest.raises(DataError, match="validation"):
        bench.tune(tmp_path / "run", data=data)
    assert not (tmp_path / "run").exists()


def test_a_split_of_one_class_is_refused(bench: Bench, tmp_path: Path) -> None:
    rows = [r for r in bench.rows if (r["split"], r["label"]) != ("validation", "COVID")]
    data = bench.table(rows, bench.labels.parent / "half.csv")
    with pytest.raises(DataError, match="validation split holds no scan of class 'COVID'"):
        bench.tune(tmp_path / "run", data=data)
    assert not (tmp_path / "run").exists()


def with_nan(bench: Bench, name: str, names: list[int], share: float) -> Path:
    """The set with some scans replaced by ones of which a share of the voxels is NaN."""
    rows = []
    for k, row in enumerate(bench.rows):
        if k in names:
            hu = chest_hu(5, 48, seed=k).astype(np.float32)
            hu.reshape(-1)[: max(1, int(share * hu.size))] = np.nan
            lps_nifti(bench.labels.parent / f"{name}{k}.nii.gz", hu)
            row = row | {"path": f"{name}{k}.nii.gz"}
        rows.append(row)
    return bench.table(rows, bench.labels.parent / f"{name}.csv")


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_scan_with_nan_is_left_out_with_its_reason_and_the_rest_is_learnt(
    bench: Bench, tmp_path: Path, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    data = with_nan(bench, f"nan{int(10 * share)}-", [2], share)
    run = bench.tune(tmp_path / "run", data=data)
    dropped = read_csv(run / "dropped.csv")
    assert len(dropped) == 1
    assert "NaN or infinite" in dropped[0]["reason"]
    assert "1 scan could not be used" in caplog.text
    assert all(np.isfinite(float(row["loss"])) for row in read_csv(run / "metrics.csv"))


def test_a_class_that_is_all_nan_is_refused_with_the_reason(bench: Bench, tmp_path: Path) -> None:
    data = with_nan(bench, "allnan", [k for k in range(12) if k % 2], 0.5)
    with pytest.raises(DataError, match="No scan of one class could be read .*NaN or infinite"):
        bench.tune(tmp_path / "run", data=data)


def test_pictures_of_grey_values_do_not_reach_an_encoder_of_hu(
    bench: Bench, tmp_path: Path
) -> None:
    rows = [row | {"path": f"grey/{k}.png"} for k, row in enumerate(bench.rows)]
    for k in range(len(rows)):
        write_png(tmp_path / "grey" / f"{k}.png", chest_grey(48, k))
    with pytest.raises(DataError, match="was trained on HU. Give the original DICOM or NIfTI"):
        bench.tune(tmp_path / "run", data=bench.table(rows, tmp_path / "grey.csv"))
