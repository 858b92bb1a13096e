"""The whole journey with networks of volumes: every verb, on phantoms and on a real scan."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from covidssl.commands import evaluate, finetune, predict, prepare, pretrain, report
from covidssl.config import load_config
from covidssl.errors import ScanError, UsageError
from covidssl.experiments import (
    EvaluateConfig,
    FinetuneConfig,
    PredictConfig,
    PrepareConfig,
    PretrainConfig,
)
from covidssl.figures import restoration_picture
from covidssl.files import read_csv
from covidssl.finetuning import Places
from covidssl.io import read_ct
from covidssl.model import load_model
from covidssl.phantom import Grid, write_labelled, write_unlabelled
from covidssl.prediction import predict as predict_one
from covidssl.randomness import torch_generator
from tests.scan_files import chest_hu, write_dicom

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "volume"
GRID = Grid((16, 64, 64), (14.0, 5.4, 5.4))
SMALL = ["frame.size=32", "frame.depth=8", "encoder.channels=[4,8]"]
PRETRAIN = [*SMALL, "pretext.patch=[8,24,24]", "training.steps=3", "training.batch_size=2",
            "training.warmup_steps=1", "checkpoint_every=2", "pictures_every=3"]  # fmt: skip
FINETUNE = [*SMALL, "split.test=0.25", "split.validation=0.25", "training.steps=2",
            "training.batch_size=3", "training.warmup_steps=1", "validate_every=1"]  # fmt: skip


class Journey:
    """Folders of one journey."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scans, self.labels = root / "scans", root / "labelled" / "labels.csv"
        self.store, self.pretrain, self.finetune = (
            root / name for name in ("store", "pretrain", "finetune")
        )
        self.evaluate, self.predict = root / "evaluate", root / "predict"


def pretrain_config(*more: str) -> PretrainConfig:
    return load_config(PretrainConfig, CONFIGS / "pretrain.yaml", [*PRETRAIN, *more])


def finetune_config(*more: str) -> FinetuneConfig:
    return load_config(FinetuneConfig, CONFIGS / "finetune.yaml", [*FINETUNE, *more])


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """All verbs, once."""
    j = Journey(tmp_path_factory.mktemp("volume-journey"))
    write_unlabelled(j.scans, 3, seed=1, grid=GRID)
    write_labelled(j.labels.parent, 8, seed=2, grid=GRID)
    prepare.main(PrepareConfig(), [j.scans], j.store)
    pretrain.main(pretrain_config(), j.store, j.pretrain, device="cpu")
    places = Places(j.finetune, j.pretrain, cache=j.root / "cache", device="cpu")
    finetune.main(finetune_config(), j.labels, places)
    evaluate.main(EvaluateConfig(rounds=100), j.finetune, j.labels, j.evaluate)
    predict.main(PredictConfig(), j.finetune, [j.scans], j.predict, how=predict.How("cpu"))
    report.main([j.store, j.pretrain, j.finetune, j.evaluate, j.predict], j.root / "report.html")
    return j


def test_every_verb_finishes_and_the_report_shows_them(journey: Journey) -> None:
    for verb in ("store", "pretrain", "finetune", "evaluate", "predict"):
        record = json.loads((getattr(journey, verb) / "record.json").read_text())
        assert record["status"] == "done", verb
    page = (journey.root / "report.html").read_text(encoding="utf-8")
    assert "volumes left out" in page


def test_pretraining_learns_from_one_volume_a_scan_and_shows_planes(journey: Journey) -> None:
    record = json.loads((journey.pretrain / "record.json").read_text())
    assert record["summary"]["volumes"] == 3
    losses = [float(row["loss"]) for row in read_csv(journey.pretrain / "metrics.csv")]
    assert len(losses) == 3
    assert np.isfinite(losses).all()
    with Image.open(journey.pretrain / "pictures" / "step-000003.png") as picture:
        assert np.ptp(np.asarray(picture.convert("L"))) > 100


def test_of_a_volume_the_plane_is_shown_in_which_most_was_changed() -> None:
    clean = torch.rand((2, 1, 6, 8, 8), generator=torch_generator(1))
    corrupted, planes = clean.clone(), {0: 4, 1: 1}
    for row, plane in planes.items():
        corrupted[row, 0, plane, 2:6] += 0.3
    volumes = {"corrupted": corrupted, "restored": clean * 0.9, "clean": clean}
    flat = {
        title: torch.stack([one[row, :, plane] for row, plane in planes.items()])
        for title, one in volumes.items()
    }
    assert restoration_picture(volumes) == restoration_picture(flat)


def test_cards_say_that_the_networks_see_volumes(journey: Journey) -> None:
    model = load_model(journey.finetune)
    assert model.card.frame.shape == (8, 32, 32)
    assert model.card.encoder.dimensions == 3
    assert model.restoration is not None
    encoder = json.loads((journey.pretrain / "encoder.json").read_text())
    assert encoder["frame"]["depth"] == 8


def test_a_scan_gets_a_probability_a_burden_and_a_picture_of_planes(journey: Journey) -> None:
    rows = read_csv(journey.predict / "predictions.csv")
    assert len(rows) == 3
    for row in rows:
        assert (row["outcome"], row["reason_codes"]) == ("warned", "thick_slices"), row
        assert 0 < float(row["probability"]) < 1
        assert 0 <= float(row["lesion_percent"]) <= 100
    said = predict_one(journey.finetune, journey.scans / "patient-001.nii.gz")
    assert float(rows[0]["probability"]) == pytest.approx(said.probability, abs=1e-4)
    assert said.answered.prepared.cut is not None
    assert said.answered.prepared.cut.slices.shape == (8,)
    assert said.answer.slices == ()  # one volume, of which no slice has a probability
    with Image.open(io.BytesIO(said.picture)) as picture:
        # A row a plane of the three that decided; beside the slice both maps, each as wide as it.
        assert (picture.width // 3, picture.height // 3) > (100, 100)


def test_the_table_of_an_evaluation_has_a_row_a_scan(journey: Journey) -> None:
    rows = read_csv(journey.evaluate / "predictions.csv")
    assert len(rows) == len({row["scan"] for row in rows}) == 4
    assert all(np.isfinite(float(row["logit"])) for row in rows)


def test_a_single_picture_is_refused_with_what_to_give(journey: Journey, tmp_path: Path) -> None:
    write_dicom(tmp_path / "slice", chest_hu(1, 64))
    with pytest.raises(ScanError, match=r"single slice.*Give the whole series"):
        predict_one(journey.finetune, tmp_path / "slice")


def test_a_slab_is_predicted_with_a_warning(journey: Journey, tmp_path: Path) -> None:
    write_dicom(tmp_path / "slab", chest_hu(6, 64))
    said = predict_one(journey.finetune, tmp_path / "slab")
    assert said.answer.outcome == "warned"
    assert [reason.code for reason in said.answer.reasons] == ["slab"]
    assert "a thin slab: 6 slices" in said.answer.reasons[0].text
    assert said.probability is not None
    assert 0 < said.probability < 1


def test_volumes_learnt_from_again_give_the_same_weights(journey: Journey) -> None:
    again = journey.root / "again"
    whole = (journey.pretrain / "encoder.safetensors").read_bytes()
    pretrain.main(pretrain_config("training.steps=3"), journey.store, again, device="cpu")
    assert (again / "encoder.safetensors").read_bytes() == whole


def test_a_frame_without_its_encoder_says_what_to_set() -> None:
    with pytest.raises(UsageError, match=r"set encoder\.dimensions=3"):
        load_config(PretrainConfig, None, ["frame.depth=16"])


@pytest.mark.realdata
def test_a_real_scan_is_learnt_from_and_predicted(
    journey: Journey, real_data: Path, tmp_path: Path
) -> None:
    scan = real_data / "nlst" / "NLST-101287.nii.gz"
    prepare.main(PrepareConfig(), [scan], tmp_path / "store")
    more = ["frame.depth=24", "frame.size=48", "pretext.patch=[16,32,32]"]
    pretrain.main(pretrain_config(*more), tmp_path / "store", tmp_path / "run", device="cpu")
    losses = [float(row["loss"]) for row in read_csv(tmp_path / "run" / "metrics.csv")]
    assert np.isfinite(losses).all()
    tuned = tmp_path / "tuned"
    places = Places(tuned, tmp_path / "run", device="cpu")
    finetune.main(finetune_config(*more[:2]), journey.labels, places)
    said = predict_one(tuned, scan)
    (z_mm, _, _) = read_ct(scan).spacing_mm or (0.0, 0.0, 0.0)
    assert said.probability is not None
    assert 0 < said.probability < 1
    assert said.answer.burden is not None
    assert said.answered.prepared.cut is not None
    slices = said.answered.prepared.cut.slices
    # Both lungs from base to apex, 2 mm a slice, in 24 planes.
    steps = np.diff(slices)
    assert 200 < (slices[-1] - slices[0]) * z_mm < 300
    assert steps.max() - steps.min() <= 1
