"""A score says what it was counted on, and what it must not be taken for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch

from covidssl.calibration import Calibration
from covidssl.commands import evaluate, report
from covidssl.datasets import read_dataset
from covidssl.diagnosis import scores_of
from covidssl.errors import DataError, UsageError, WeightsError
from covidssl.experiments import EvaluateConfig
from covidssl.files import read_csv, write_bytes, write_csv
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.io import write_volume
from covidssl.labelled_frames import load_labelled_frames
from covidssl.model import Aggregation, ModelCard, save_model
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.phantom import phantom_chest
from covidssl.randomness import initial_weights
from covidssl.splits import (
    Learnt,
    SplitNotes,
    SplitPlan,
    learnt_from,
    split_dataset,
    splits_fingerprint,
    write_split_files,
)
from covidssl.weights import Origin

SHAPE, SPACING = (4, 72, 72), (28.0, 4.8, 4.8)
PLACES = ("train", "train", "validation", "validation", "test", "test", "test")
COLUMNS = ("path", "label", "patient", "split")
FRAME = Frame(size=32, pixels=Pixels.HU)


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


def write_scans(folder: Path, rows: Sequence[dict[str, str]], first_seed: int = 0) -> Path:
    for seed, row in enumerate(rows, start=first_seed):
        scan = phantom_chest(seed, row["label"] == "COVID", SHAPE, SPACING).ct
        write_volume(scan, folder / row["path"])
    write_csv(folder / "labels.csv", COLUMNS, rows)
    return folder / "labels.csv"


def save_untrained(
    folder: Path, seed: int, learnt: Learnt | None = None, splits: str = "", unchecked: str = ""
) -> None:
    """A model folder: its scores mean nothing, and nothing here asks what they are."""
    plan = EncoderPlan(channels=(8, 8, 16))
    with initial_weights(seed):
        classifier = CovidClassifier(build_encoder(plan))
    card = ModelCard(
        classes=("normal", "COVID"),
        encoder=plan,
        frame=FRAME,
        operating_point=0.5,
        operating_point_rule="none",
        calibration=Calibration(),
        aggregation=Aggregation(),
        burden_threshold=0.1,
        pretrained_from="none",
        trained_on=Origin(data_fingerprint="none", pictures=0, steps=0, seed=seed),
        metrics={},
        unchecked=unchecked,
        splits=splits,
        files={},
    )
    save_model(folder / "model", card, classifier.state_dict(), None, learnt)


class Bench:
    """A run, its labelled data, and a place for what is evaluated."""

    def __init__(self, root: Path) -> None:
        self.root, self.run = root, root / "run"
        self.labels = write_scans(root / "data", rows_of())
        dataset = read_dataset(self.labels, "COVID")
        assigned = split_dataset(dataset, SplitPlan(), 0)
        frames = load_labelled_frames(dataset.scans, FRAME, Aggregation().most_slices)
        self.learnt = learnt_from(assigned, frames.prints)
        self.splits = splits_fingerprint(assigned)
        save_untrained(self.run, 1, self.learnt, self.splits)
        write_split_files(self.run, assigned, dataset, SplitNotes(kind="given", reason="given"))

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
        network = CovidClassifier(build_encoder(EncoderPlan(channels=(8, 8, 16))))
    none = np.empty((0, 32, 32), dtype=np.uint16)
    found = scores_of(network, none, torch.device("cpu")).logit
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
    assert said(metrics, "SCANS WERE LEARNT FROM: 8 of 14 scans are among what the model learnt")
    assert metrics["leakage"].startswith("8 of 14 scans")
    assert "(8 with the same voxels, 0 near duplicates" in metrics["leakage"]


def test_model_folder_alone_knows_what_was_learnt_from(bench: Bench) -> None:
    copytree(bench.run / "model", bench.root / "moved")
    bench.run = bench.root / "moved"
    assert said(bench.score("all"), "8 of 14 scans are among what the model learnt from")


def renamed(row: dict[str, str], k: int) -> dict[str, str]:
    return {"path": f"case{k}.nii.gz", "label": row["label"], "patient": f"q{k}", "split": "test"}


def test_copies_of_training_scans_are_known_by_another_name(bench: Bench) -> None:
    rows = rows_of()
    for k, row in enumerate(rows):
        target = bench.root / "else" / renamed(row, k)["path"]
        write_bytes(target, (bench.labels.parent / row["path"]).read_bytes())
    labels = bench.root / "else" / "labels.csv"
    write_csv(labels, COLUMNS, [renamed(row, k) for k, row in enumerate(rows)])
    metrics = bench.score("all", labels)
    assert metrics["leakage"].startswith("8 of 14 scans are among what the model learnt from")
    assert "first: case0.nii.gz" in metrics["leakage"]
    report.main([bench.root / "out"], bench.root / "page.html")
    page = (bench.root / "page.html").read_text()
    assert "There is leakage." in page
    assert page.count("8 of 14 scans are among what the model learnt from") == 1


def test_training_scans_that_were_touched_up_are_known(bench: Bench) -> None:
    touched = bench.root / "else"
    rows = rows_of(("test", "test"))
    for seed, row in enumerate(rows):
        ct = phantom_chest(seed, row["label"] == "COVID", SHAPE, SPACING).ct
        write_volume(replace(ct, array=(ct.array + 3).astype(np.int16)), touched / row["path"])
    write_csv(touched / "labels.csv", COLUMNS, rows)
    assert (
        "(0 with the same voxels, 4 near" in bench.score("all", touched / "labels.csv")["leakage"]
    )


def test_other_scans_called_like_training_scans_raise_no_alarm(bench: Bench) -> None:
    rows = rows_of(("test", "test"))
    metrics = bench.score("all", write_scans(bench.root / "else", rows, first_seed=50))
    assert metrics["leakage"] == ""
    assert not said(metrics, "learnt from")


@pytest.mark.parametrize("gone", ["never written", "taken away"])
def test_model_that_does_not_say_what_it_learnt_from_is_told(gone: str, bench: Bench) -> None:
    if gone == "never written":
        save_untrained(bench.run, 1)
    else:
        (bench.run / "model" / "learnt.safetensors").unlink()
    metrics = bench.score("all")
    assert metrics["leakage"] == ""
    (text,) = said(metrics, "could not be checked: the model holds no learnt.safetensors")
    assert text.endswith("8 of 14 are called like train or validation scans of its run")


def test_start_that_is_not_known_is_told(bench: Bench) -> None:
    save_untrained(bench.run, 1, bench.learnt, bench.splits, unchecked="who knows")
    assert said(bench.score(), "could not be checked in full: who knows")


def test_learnt_file_that_was_changed_is_refused(bench: Bench) -> None:
    file = bench.run / "model" / "learnt.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    write_bytes(file, bytes(content))
    with pytest.raises(WeightsError, match=r"learnt\.safetensors.*SHA-256 differs"):
        bench.score()


def exchange(bench: Bench) -> None:
    """Test and train exchanged in the run's table."""
    file = bench.run / "splits.csv"
    rows = read_csv(file)
    words = {"train": "test", "test": "train"}
    rows = [row | {"split": words.get(row["split"], row["split"])} for row in rows]
    write_csv(file, tuple(rows[0]), rows)


def test_splits_that_were_changed_are_refused(bench: Bench) -> None:
    exchange(bench)
    with pytest.raises(DataError, match=r"splits\.csv: was changed since splits\.json was written"):
        bench.score()
    (bench.run / "splits.json").unlink()
    with pytest.raises(DataError, match="is not the split that the model was trained on"):
        bench.score()


def test_scans_of_nobody_known_are_resampled_in_runs_where_order_carries_patients(
    bench: Bench,
) -> None:
    data = bench.root / "slices"
    for positive, name in enumerate(("normal", "COVID")):
        for patient in range(8):
            seed = 100 + 2 * patient + positive
            ct = phantom_chest(seed, bool(positive), (12, 72, 72), (10.0, 4.8, 4.8)).ct
            for k in range(6):
                one = replace(ct, array=ct.array[3 + k : 4 + k])
                write_volume(one, data / name / f"slice {6 * patient + k}.nii.gz")
    metrics = bench.score("all", data)
    assert metrics["group_kind"] == "run of neighbouring files (no patient ids)"
    assert metrics["groups"] == 24


def test_finished_run_is_taken_as_it_is_for_the_same_model_and_scans(bench: Bench) -> None:
    bench.score()
    before = bench.record()
    bench.score(if_exists="resume")
    assert bench.record() == before


def test_finished_run_of_another_model_is_refused(bench: Bench) -> None:
    bench.score()
    before = bench.record()
    save_untrained(bench.run, 2, bench.learnt, bench.splits)
    with pytest.raises(UsageError, match="its data changed since it was started: classifier"):
        bench.score(if_exists="resume")
    assert bench.record() == before


def test_finished_run_of_other_scans_is_refused(bench: Bench) -> None:
    bench.score("all")
    write_csv(bench.labels, COLUMNS, rows_of()[:-2])
    with pytest.raises(UsageError, match="its data changed since it was started: splits"):
        bench.score("all", if_exists="resume")
