"""A score says what it was counted on, and what it must not be taken for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch

from covidssl.commands import report
from covidssl.diagnosis import scores_of
from covidssl.errors import DataError, UsageError, WeightsError
from covidssl.files import read_csv, write_bytes, write_csv
from covidssl.io import write_volume
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.phantom import phantom_chest
from covidssl.randomness import initial_weights
from tests.evaluation.bench import (
    COLUMNS,
    SHAPE,
    SPACING,
    Bench,
    rows_of,
    save_untrained,
    write_scans,
)


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
    told, _, checklist = page.partition('id="checklist"')
    assert told.count("8 of 14 scans are among what the model learnt from") == 1
    assert "8 of 14 scans are among what the model learnt from" in checklist


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
