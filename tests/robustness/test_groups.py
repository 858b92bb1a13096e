"""What a suite says of clean scans is what an evaluation says: groups, intervals, leakage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from covidssl.commands import evaluate, robustness
from covidssl.datasets import Dataset, read_dataset
from covidssl.each_scan import no_progress
from covidssl.errors import DataError
from covidssl.experiments import EvaluateConfig
from covidssl.files import read_csv
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.labelled_frames import load_labelled_frames
from covidssl.model import load_model
from covidssl.robustness.plan import RobustnessConfig
from covidssl.robustness.suite import Suite, try_scans
from covidssl.splits import Assigned, learnt_from, splits_fingerprint, write_splits
from tests.robustness.bench import write_labels
from tests.robustness.scans import card, write_model
from tests.scan_files import chest_grey, write_png

CLEAN_ALONE = RobustnessConfig(kinds=(), attack_hu=(), attack_grey=(), rounds=100)
A_CLASS, LEARNT = 40, 20


def write_slices(folder: Path) -> Path:
    """Two class folders whose neighbouring files are alike, five by five; nobody says whose."""
    generator = np.random.default_rng(0)
    for label in ("normal", "COVID"):
        for k in range(A_CLASS):
            grey = chest_grey(64, 2 * (k // 5) + (label == "COVID")).astype(int)
            noisy = grey + 25 * (k // 5 % 4) + generator.integers(-3, 4, grey.shape)
            write_png(folder / label / f"{k:02d}.png", noisy.clip(0, 255).astype(np.uint8))
    return folder


def split_in_order(dataset: Dataset) -> list[Assigned]:
    """The first of each class are learnt from, the last test."""
    assigned = []
    for positive in (False, True):
        own = [scan for scan in dataset.scans if scan.positive == positive]
        places = ["train"] * 12 + ["validation"] * (LEARNT - 12) + ["test"] * LEARNT
        pairs = zip(own, places, strict=True)
        assigned += [Assigned(scan, scan.name, split) for scan, split in pairs]
    return assigned


class Slices:
    """A run on slices of nobody known, and their evaluation."""

    def __init__(self, root: Path) -> None:
        self.root, self.data = root, write_slices(root / "data")
        self.dataset = read_dataset(self.data, "COVID")
        assigned = split_in_order(self.dataset)
        own = splits_fingerprint(assigned)
        self.run = write_model(root / "run", Pixels.WINDOWED, splits=own)
        write_splits(self.run / "splits.csv", assigned, self.dataset)
        evaluated = EvaluateConfig(split="test", rounds=100, views=False)
        evaluate.main(evaluated, self.run, self.data, root / "evaluated")
        self.metrics = json.loads((root / "evaluated" / "metrics.json").read_text())

    def clean(self, **config: object) -> dict[str, Any]:
        """The clean row of a suite."""
        out = self.root / f"out{len(list(self.root.iterdir()))}"
        robustness.main(CLEAN_ALONE.model_copy(update=config), self.run, self.data, out)
        row: dict[str, Any] = json.loads((out / "robustness.json").read_text())["rows"][0]
        row["tried"] = [one["scan"] for one in read_csv(out / "logits.csv")]
        return row


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Slices:
    torch.set_num_threads(1)
    return Slices(tmp_path_factory.mktemp("slices"))


def test_slices_of_nobody_known_are_resampled_in_the_runs_of_an_evaluation(slices: Slices) -> None:
    clean = slices.clean()
    assert clean["scores"]["auroc"] == slices.metrics["model"]["auroc"]
    assert clean["groups"] == slices.metrics["groups"] == 2 * LEARNT // 4


def test_fewer_slices_stay_in_their_runs_however_far_apart_they_are(slices: Slices) -> None:
    clean = slices.clean(most_scans=14)
    rows = read_csv(slices.root / "evaluated" / "predictions.csv")
    group = {row["scan"]: row["group"] for row in rows}
    assert len(clean["tried"]) == 14
    assert clean["groups"] == len({group[name] for name in clean["tried"]}) < 14


def test_groups_do_not_depend_on_what_else_was_read(slices: Slices) -> None:
    groups = set()
    for k, more in enumerate(({"rival": False}, {"rival": True})):
        out = slices.root / f"again{k}"
        config = EvaluateConfig(split="test", rounds=100, views=False, **more)
        evaluate.main(config, slices.run, slices.data, out)
        groups.add(json.loads((out / "metrics.json").read_text())["groups"])
    assert groups == {slices.metrics["groups"]}


def test_patients_are_resampled_as_in_an_evaluation(tmp_path: Path) -> None:
    labels, run = write_labels(tmp_path / "data"), write_model(tmp_path / "run")
    config = CLEAN_ALONE.model_copy(update={"split": "all"})
    robustness.main(config, run, labels, tmp_path / "out")
    clean = json.loads((tmp_path / "out" / "robustness.json").read_text())["rows"][0]
    of = EvaluateConfig(split="all", rounds=100, views=False)
    evaluate.main(of, run, labels, tmp_path / "evaluated")
    metrics = json.loads((tmp_path / "evaluated" / "metrics.json").read_text())
    assert clean["scores"]["auroc"] == metrics["model"]["auroc"]
    assert clean["groups"] == metrics["groups"] == 4
    assert clean["scans"] == 8


def test_splits_that_are_not_the_models_own_are_refused(slices: Slices, tmp_path: Path) -> None:
    run = write_model(tmp_path / "run", Pixels.WINDOWED, splits="0" * 64)
    write_splits(run / "splits.csv", split_in_order(slices.dataset), slices.dataset)
    with pytest.raises(DataError, match="is not the split that the model was trained on"):
        robustness.main(CLEAN_ALONE, run, slices.data, tmp_path / "out")


@pytest.mark.parametrize("window", [(-1000.0, 400.0), (-160.0, 240.0)])
def test_scans_are_known_again_through_the_models_own_window(
    tmp_path: Path, window: tuple[float, float]
) -> None:
    labels = write_labels(tmp_path / "data", 1)
    scans = read_dataset(labels, "COVID").scans
    frame = Frame(size=32, pixels=Pixels.HU, window_hu=window)
    model = load_model(write_model(tmp_path / "run", frame=frame))
    tried = try_scans(Suite(model, CLEAN_ALONE), scans, None, no_progress).prints
    cut = load_labelled_frames(scans, frame, card().aggregation.most_slices).prints
    assert (tried.hashes == cut.hashes).all()
    assert (tried.thumbnails == cut.thumbnails).all()
    assert (tried.names, tried.voxels) == (cut.names, cut.voxels)


def test_scans_that_were_learnt_from_are_told(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "data")
    scans = read_dataset(labels, "COVID").scans
    frames = load_labelled_frames(scans, card().frame, card().aggregation.most_slices)
    learnt = learnt_from([Assigned(one, one.name, "train") for one in scans[:3]], frames.prints)
    run = write_model(tmp_path / "run", learnt=learnt)
    config = CLEAN_ALONE.model_copy(update={"split": "all"})
    robustness.main(config, run, labels, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert "internal: 3 of 8 scans are among what the model learnt from" in found["leakage"]
    assert found["warnings"][0].startswith("THERE IS LEAKAGE")
