"""A split is a file with its reason and its seed, and is taken for no other than it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from covidssl.datasets import Dataset
from covidssl.errors import DataError, UsageError
from covidssl.files import read_csv, write_csv, write_text
from covidssl.splits import (
    Assigned,
    SplitNotes,
    SplitPlan,
    propose,
    read_split_file,
    read_splits,
    settle,
    split_dataset,
    write_split_files,
)
from tests.splits.prints import prints_of
from tests.splits.sets import dataset, in_file_order, of_patients, scan, splits_of

NOTES = SplitNotes(kind="patient", reason="by patient", seed=4, plan={"test": 0.2})


def settled(whole: Dataset, plan: SplitPlan, seed: int = 0) -> tuple[list[Assigned], SplitNotes]:
    prints = prints_of([one.name for one in whole.scans])
    return settle(propose(whole, plan, seed), prints)


@pytest.mark.parametrize("kind", ["patient", "blocked", "random", "grouped"])
def test_every_kind_is_written_with_its_reason_and_read_again(kind: str, tmp_path: Path) -> None:
    whole = of_patients() if kind == "patient" else in_file_order(120)
    plan = SplitPlan.model_validate({"kind": kind, "gap": 3})
    assigned, notes = settled(whole, plan, seed=5)
    path = write_split_files(tmp_path, assigned, whole, notes)
    found, again = read_split_file(path, whole)
    assert splits_of(found) == splits_of(assigned)
    assert again == notes
    assert (again.kind, again.seed) == (kind, 5)
    assert again.plan["gap"] == 3


def test_file_says_counts_groups_and_what_a_group_is(tmp_path: Path) -> None:
    whole = of_patients(40, 3)
    assigned = split_dataset(whole, SplitPlan(), 0)
    write_split_files(tmp_path / "mine.csv", assigned, whole, NOTES)
    said = json.loads((tmp_path / "mine.json").read_text())
    assert said["format"] == "covidssl-splits-1"
    assert said["counts"]["test"] == {"normal": 12, "COVID": 12}
    assert said["groups"] == {"train": 26, "validation": 6, "test": 8}
    assert (said["group_kind"], said["reason"], said["seed"]) == ("patient", "by patient", 4)
    assert (said["leaks"], said["leakage_allowed"]) == ([], False)


def test_csv_made_by_hand_is_given_by_the_user(tmp_path: Path) -> None:
    whole = dataset(*(scan(f"{k}.png", k % 2 == 1, f"p{k}") for k in range(6)))
    words = ["train", "Training", "val", "validation", "gap", "unused"]
    rows = [{"scan": one.name, "split": w} for one, w in zip(whole.scans, words, strict=True)]
    write_csv(tmp_path / "by-hand.csv", ("scan", "split"), rows[::-1])
    assigned, notes = read_split_file(tmp_path / "by-hand.csv", whole)
    assert [one.split for one in assigned] == [
        "train", "train", "validation", "validation", "gap", "unused",
    ]  # fmt: skip
    assert [one.group for one in assigned] == [f"p{k}" for k in range(6)]
    assert (notes.kind, notes.reason, notes.seed) == ("file", "given by the user", None)


def written(folder: Path, whole: Dataset) -> Path:
    return write_split_files(folder, split_dataset(whole, SplitPlan(), 0), whole, NOTES)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (of_patients(39), r"3 scans differ; first: p39/0\.png is in splits\.csv, but not in set"),
        (of_patients(41), r"3 scans differ; first: p40/0\.png is in set, but not in splits\.csv"),
    ],
    ids=["fewer", "more"],
)
def test_splits_of_other_scans_are_refused(other: Dataset, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, of_patients())
    with pytest.raises(DataError, match=said):
        read_split_file(path, other)


def test_splits_of_other_labels_are_refused_with_their_line(tmp_path: Path) -> None:
    path = written(tmp_path, of_patients())
    anew = dataset(scan("p00/0.png", True, "p00"), *of_patients().scans[1:])
    with pytest.raises(DataError, match=r"line 2: p00/0\.png is labelled 'normal', and 'COVID'"):
        read_split_file(path, anew)


def test_csv_that_was_changed_after_its_reason_was_written_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, of_patients())
    rows = read_csv(path)
    rows[0]["split"] = "unused"
    write_csv(path, tuple(rows[0]), rows)
    with pytest.raises(DataError, match=r"splits\.csv: was changed since splits\.json was written"):
        read_split_file(path, of_patients())
    path.with_suffix(".json").unlink()
    assert read_split_file(path, of_patients())[1].reason == "given by the user"


@pytest.mark.parametrize("read", [read_split_file, read_splits], ids=["given", "of a run"])
def test_patient_that_the_dataset_knows_to_be_another_is_refused_unnamed(
    read: Callable[[Path, Dataset], object], tmp_path: Path
) -> None:
    rows = [
        {"scan": one.name, "split": "train", "patient": "" if k else "Ann", "group": "g",
         "label": of_patients().classes[one.positive]}
        for k, one in enumerate(of_patients().scans)
    ]  # fmt: skip
    write_csv(tmp_path / "s.csv", tuple(rows[0]), rows)
    with pytest.raises(DataError, match=r"p00/0\.png is of another patient than the") as refusal:
        read(tmp_path / "s.csv", of_patients())
    assert "Ann" not in str(refusal.value)


def test_patients_that_the_dataset_knows_stay_where_a_file_has_none(tmp_path: Path) -> None:
    rows = [{"scan": one.name, "split": "train", "patient": ""} for one in of_patients().scans]
    write_csv(tmp_path / "s.csv", ("scan", "split", "patient"), rows)
    assigned, _ = read_split_file(tmp_path / "s.csv", of_patients())
    assert [one.scan.patient for one in assigned] == [one.patient for one in of_patients().scans]


def test_splits_of_a_run_that_were_changed_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, of_patients())
    assert read_splits(path, of_patients())
    rows = read_csv(path)
    rows[0]["split"] = "test"
    write_csv(path, tuple(rows[0]), rows)
    with pytest.raises(DataError, match=r"splits\.csv: was changed since .* Give the run's own"):
        read_splits(path, of_patients())


@pytest.mark.parametrize("text", ["{", "{}", '{"format": "covidssl-splits-0"}'])
def test_description_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, of_patients())
    write_text(path.with_suffix(".json"), text)
    with pytest.raises(DataError, match=r"splits\.json: is no description of a split"):
        read_split_file(path, of_patients())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no row with scan and split"),
        ("path,split\na.png,test\n", "holds no row with scan"),
        ("scan,split\na.png,tset\nb.png,train\n", "line 2: unknown split 'tset'"),
        ("scan,split\na.png,train\nb.png,\n", r"line 3: b\.png has no split; 'unused' leaves"),
        ("scan,split\na.png,test\na.png,train\n", r"line 3: a\.png stands in the table twice"),
    ],
)
def test_csv_that_is_no_split_is_refused(text: str, said: str, tmp_path: Path) -> None:
    write_text(tmp_path / "s.csv", text)
    with pytest.raises(DataError, match=rf"s\.csv.*{said}"):
        read_split_file(tmp_path / "s.csv", dataset(scan("a.png", True), scan("b.png", False)))


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file of splits"):
        read_split_file(tmp_path / "none.csv", of_patients())


def test_fraction_of_the_labels_of_a_file_may_be_drawn(tmp_path: Path) -> None:
    path = written(tmp_path, of_patients())
    whole = propose(of_patients(), SplitPlan(), 0, path)
    some = propose(of_patients(), SplitPlan(label_fraction=0.5), 0, path)
    assert whole.assigned
    assert some.assigned
    unused = [one for one in some.assigned if one.split == "unused"]
    assert 0 < len(unused) < len(whole.assigned)
    assert some.fingerprint != whole.fingerprint
    assert some.notes.reason == "by patient; 0.5 of the labels used, draw 0"
