"""A score says what it was counted on, and what it must not be taken for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from covidssl.calibration import Calibration
from covidssl.commands import evaluate
from covidssl.datasets import read_dataset
from covidssl.diagnosis import logits_of
from covidssl.errors import DataError, UsageError
from covidssl.experiments import EvaluateConfig
from covidssl.files import read_csv, write_csv
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.io import write_volume
from covidssl.model import Aggregation, ModelCard, save_model
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import Encoder, EncoderPlan
from covidssl.phantom import phantom_chest
from covidssl.randomness import initial_weights
from covidssl.splits import SplitPlan, split_dataset, write_splits
from covidssl.weights import Origin

SHAPE, SPACING = (4, 72, 72), (28.0, 4.8, 4.8)
PLACES = ("train", "train", "validation", "validation", "test", "test", "test")
COLUMNS = ("path", "label", "patient", "split")


def rows_of(places: Sequence[str] = PLACES) -> list[dict[str, str]]:
    """A healthy and an ill patient for each place."""
    return [
        {
            "path": f"p{k}-{label}.nii.gz",
            "label": label,
            "patient": f"person-{k}-{label}",
            "split": split,
        }
        for k, split in enumerate(places)
        for label in ("normal", "COVID")
    ]


def write_scans(folder: Path, rows: Sequence[dict[str, str]]) -> Path:
    for seed, row in enumerate(rows):
        scan = phantom_chest(seed, row["label"] == "COVID", SHAPE, SPACING).ct
        write_volume(scan, folder / row["path"])
    write_csv(folder / "labels.csv", COLUMNS, rows)
    return folder / "labels.csv"


def save_untrained(folder: Path, seed: int) -> None:
    """A model folder: its scores mean nothing, and nothing here asks what they are."""
    plan = EncoderPlan(channels=(8, 8, 16))
    with initial_weights(seed):
        classifier = CovidClassifier(Encoder(plan))
    card = ModelCard(
        classes=("normal", "COVID"),
        encoder=plan,
        frame=Frame(size=32, pixels=Pixels.HU),
        operating_point=0.5,
        operating_point_rule="none",
        calibration=Calibration(),
        aggregation=Aggregation(),
        burden_threshold=0.1,
        pretrained_from="none",
        trained_on=Origin(data_fingerprint="none", pictures=0, steps=0, seed=seed),
        metrics={},
        files={},
    )
    save_model(folder / "model", card, classifier.state_dict(), None)


class Bench:
    """A run, its labelled data, and a place for what is evaluated."""

    def __init__(self, root: Path) -> None:
        self.root, self.run = root, root / "run"
        self.labels = write_scans(root / "data", rows_of())
        save_untrained(self.run, seed=1)
        dataset = read_dataset(self.labels, "COVID")
        write_splits(self.run / "splits.csv", split_dataset(dataset, SplitPlan(), 0), dataset)

    def score(self, split: str = "test", labels: Path | None = None, **more: Any) -> dict[str, Any]:
        config = EvaluateConfig(split=split, rounds=100)
        out = self.root / "out"
        evaluate.main(config, self.run, labels or self.labels, out, **more)
        return json.loads((out / "metrics.json").read_text())

    def damage(self, split: str, count: int = 100) -> None:
        rows = [row for row in rows_of() if row["split"] == split]
        for row in rows[:count]:
            (self.labels.parent / row["path"]).write_bytes(b"no scan")

    def record(self) -> bytes:
        return (self.root / "out" / "record.json").read_bytes()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def said(metrics: dict[str, Any], words: str) -> list[str]:
    return [text for text in metrics["warnings"] if words in text]


def test_held_out_scans_are_scored_beside_the_rival_without_a_caution(bench: Bench) -> None:
    metrics = bench.score()
    assert metrics["n"] == 6
    assert metrics["rival"]
    assert not said(metrics, "learnt") + said(metrics, "taught") + said(metrics, "could not")


def test_only_bad_scans_of_the_scored_split_are_counted_as_not_scored(bench: Bench) -> None:
    bench.damage("train", 1)
    bench.damage("validation", 2)
    bench.damage("test", 1)
    metrics = bench.score()
    assert metrics["n"] == 5
    (text,) = said(metrics, "not scored")
    assert text.startswith("1 of 6 scans could not be read and are not scored; first: p4-normal")


def test_bad_scans_of_other_splits_are_not_told_as_scored(bench: Bench) -> None:
    bench.damage("train", 1)
    assert not said(bench.score(), "not scored")


def test_split_of_which_nothing_can_be_read_is_refused(bench: Bench) -> None:
    bench.damage("test")
    with pytest.raises(DataError, match=r"Not one of the 6 scans of split 'test'.*First: p4-COVID"):
        bench.score()


def test_no_frames_have_no_logits() -> None:
    with initial_weights(1):
        network = CovidClassifier(Encoder(EncoderPlan(channels=(8, 8, 16))))
    none = np.empty((0, 32, 32), dtype=np.uint16)
    found = logits_of(network, none, torch.device("cpu"))
    assert (found.shape, found.dtype) == ((0,), np.float64)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_split_that_was_learnt_from_has_no_rival_and_a_caution(bench: Bench, split: str) -> None:
    metrics = bench.score(split)
    assert metrics["rival"] is None
    assert said(metrics, f"the {split} split: scored on data that chose or taught the weights")
    rows = read_csv(bench.root / "out" / "predictions.csv")
    assert [row["rival_probability"] for row in rows] == [""] * 4


def test_scoring_all_of_the_own_data_tells_how_many_were_learnt_from(bench: Bench) -> None:
    metrics = bench.score("all")
    assert metrics["n"] == 14
    assert said(metrics, "8 of 14 scans were learnt from")


def test_own_splits_are_found_from_the_model_folder_too(bench: Bench) -> None:
    bench.run = bench.run / "model"
    assert said(bench.score("all"), "8 of 14 scans were learnt from")


def test_scoring_all_of_other_data_has_no_caution(bench: Bench) -> None:
    rows = [row | {"path": f"other/{row['path']}"} for row in rows_of(("test", "test"))]
    assert not said(bench.score("all", write_scans(bench.root / "else", rows)), "learnt from")


def test_finished_run_is_taken_as_it_is_for_the_same_model_and_scans(bench: Bench) -> None:
    bench.score()
    before = bench.record()
    bench.score(if_exists="resume")
    assert bench.record() == before


def test_finished_run_of_another_model_is_refused(bench: Bench) -> None:
    bench.score()
    before = bench.record()
    save_untrained(bench.run, seed=2)
    with pytest.raises(UsageError, match="its data changed since it was started: classifier"):
        bench.score(if_exists="resume")
    assert bench.record() == before


def test_finished_run_of_other_scans_is_refused(bench: Bench) -> None:
    bench.score("all")
    write_csv(bench.labels, COLUMNS, rows_of()[:-2])
    with pytest.raises(UsageError, match="its data changed since it was started: splits"):
        bench.score("all", if_exists="resume")
