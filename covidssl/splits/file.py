"""The split as a file: who is where in a CSV, and why in a JSON beside it."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from covidssl.datasets import SPLITS, Dataset, LabelledScan, split_of_word
from covidssl.errors import DataError, UsageError
from covidssl.files import read_csv, write_csv, write_json
from covidssl.splits.leaks import Leak, SetAside
from covidssl.splits.plan import Assigned, group_kind

FORMAT: Literal["covidssl-splits-1"] = "covidssl-splits-1"
BY_THE_USER = "given by the user"
_COLUMNS = ("scan", "label", "patient", "group", "split")
_LEFT_OUT = ("gap", "unused")


class SplitNotes(BaseModel):
    """Why a split is as it is.

    Attributes:
        kind: of the plan, or `file`.
        reason: in words.
        seed: of what was drawn.
        plan: the split's configuration.
        set_aside: scans left out since they are like one of a split that matters more.
        leaks: what leaks through it.
        leakage_allowed: whether it was used in spite of that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    reason: str
    seed: int | None = None
    plan: dict[str, Any] = {}
    set_aside: tuple[SetAside, ...] = ()
    leaks: tuple[Leak, ...] = ()
    leakage_allowed: bool = False


class SplitRecord(SplitNotes):
    """What `splits.json` says: the notes, and what the table beside it holds.

    Attributes:
        format: of the file.
        dataset: name of the dataset.
        counts: scans by split and class.
        groups: number of groups by split.
        group_kind: what a group is.
        fingerprint: `splits_fingerprint` of the table.
    """

    format: Literal["covidssl-splits-1"] = FORMAT
    dataset: str
    counts: dict[str, dict[str, int]]
    groups: dict[str, int]
    group_kind: str
    fingerprint: str


def write_split_files(
    place: Path, assigned: Sequence[Assigned], dataset: Dataset, notes: SplitNotes
) -> Path:
    """Write a split as `splits.csv` with `splits.json` beside it; gives the CSV.

    Args:
        place: a folder, or the CSV to write.
        assigned: every scan's split.
        dataset: that it is of.
        notes: why it is so.
    """
    path = place if place.suffix.lower() == ".csv" else place / "splits.csv"
    counts = Counter((one.split, dataset.classes[one.scan.positive]) for one in assigned)
    groups: dict[str, set[str]] = defaultdict(set)
    for one in assigned:
        groups[one.split].add(one.group)
    order = [split for split in (*SPLITS, *_LEFT_OUT) if split in groups]
    record = SplitRecord(
        **{name: getattr(notes, name) for name in SplitNotes.model_fields},
        dataset=dataset.name,
        counts={split: {c: counts[split, c] for c in dataset.classes} for split in order},
        groups={split: len(groups[split]) for split in order},
        group_kind=group_kind(assigned),
        fingerprint=splits_fingerprint(assigned),
    )
    write_splits(path, assigned, dataset)
    write_json(path.with_suffix(".json"), record.model_dump(mode="json"))
    return path


def read_split_file(path: Path, dataset: Dataset) -> tuple[list[Assigned], SplitNotes]:
    """Read a split that shall be used for a dataset.

    Args:
        path: a CSV that `write_split_files` wrote, with its JSON beside it; or one made by hand,
            with the columns scan and split at least (label, patient, group are checked or taken
            where they are there).
        dataset: its scans and labels must be those of the file.

    Raises:
        UsageError: when there is no such file.
        DataError: when it is no split of this dataset, or no longer what its JSON says.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file of splits.")
    rows = _rows(path)
    assigned = _joined(path.name, rows, dataset)
    record = _as_described(
        path, assigned, "Take that file away, and the CSV counts as given by you."
    )
    if record is None:
        return assigned, SplitNotes(kind="file", reason=BY_THE_USER)
    notes = {name: getattr(record, name) for name in SplitNotes.model_fields}
    return assigned, SplitNotes(**notes | {"leaks": (), "leakage_allowed": False})


def write_splits(path: Path, assigned: Sequence[Assigned], dataset: Dataset) -> None:
    """Write `splits.csv`: scan, label, patient, group, split."""
    write_csv(
        path,
        _COLUMNS,
        (
            {
                "scan": one.scan.name,
                "label": dataset.classes[one.scan.positive],
                "patient": one.scan.patient or "",
                "group": one.group,
                "split": one.split,
            }
            for one in assigned
        ),
    )


def read_splits(path: Path, dataset: Dataset) -> list[Assigned]:
    """The splits of a run, joined with the scans of a dataset by their names.

    Raises:
        DataError: when the dataset lacks a scan of the splits, labels it otherwise or knows it to
            be of another patient, or when the CSV is no longer what the JSON beside it says.
    """
    scans = {scan.name: scan for scan in dataset.scans}
    assigned = []
    for row in read_csv(path):
        scan = scans.get(row["scan"])
        if scan is None or dataset.classes[scan.positive] != row["label"]:
            problem = "is not in this dataset" if scan is None else "has another label there"
            raise DataError(
                f"{path}: {row['scan']} {problem} ({dataset.name}). Give the dataset that the run "
                f"was trained on, or --split all for another one."
            )
        _same_patient(scan, row["patient"], f"{path}")
        scan = replace(scan, patient=row["patient"] or None)
        assigned.append(Assigned(scan, row["group"], row["split"]))
    _as_described(path, assigned, "Give the run's own splits.csv back, or train again.")
    return assigned


def splits_fingerprint(assigned: Sequence[Assigned]) -> str:
    """SHA-256 over scan, label, group, split and known patient of all, whatever their order."""
    lines = sorted(
        json.dumps(
            [
                *(one.scan.name, one.scan.positive, one.group, one.split),
                *([one.scan.patient] if one.scan.patient else []),
            ]
        )
        for one in assigned
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _as_described(path: Path, assigned: Sequence[Assigned], advice: str) -> SplitRecord | None:
    """What the JSON beside a table of splits says; None where there is none."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    try:
        record = SplitRecord.model_validate(json.loads(beside.read_text(encoding="utf-8")))
    except (ValueError, ValidationError) as error:
        raise DataError(
            f"{beside.name}: is no description of a split ({FORMAT}). Mend it. {advice}"
        ) from error
    if record.fingerprint != splits_fingerprint(assigned):
        raise DataError(
            f"{path.name}: was changed since {beside.name} was written, which says why it is as it "
            f"is. {advice}"
        )
    return record


def _same_patient(scan: LabelledScan, written: str, where: str) -> None:
    # An identifier of a patient is in no message.
    if scan.patient and written and written != scan.patient:
        raise DataError(
            f"{where}: {scan.name} is of another patient than the dataset says. Mend the column "
            f"'patient', or leave it out."
        )


def _rows(path: Path) -> dict[str, tuple[int, Mapping[str, str]]]:
    """Line and row of each scan."""
    try:
        table = read_csv(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name}: this is no CSV in UTF-8; save it as such.") from error
    lacking = {"scan", "split"} - (table[0].keys() if table else set())
    if lacking:
        raise DataError(
            f"{path.name}: holds no row with {' and '.join(sorted(lacking))}; expected "
            f"scan,split[,label][,patient][,group]."
        )
    rows: dict[str, tuple[int, Mapping[str, str]]] = {}
    for line, row in enumerate(table, start=2):
        if row["scan"] in rows:
            raise DataError(f"{path.name}, line {line}: {row['scan']} stands in the table twice.")
        rows[row["scan"]] = (line, row)
    return rows


def _joined(
    name: str, rows: Mapping[str, tuple[int, Mapping[str, str]]], dataset: Dataset
) -> list[Assigned]:
    known = {scan.name for scan in dataset.scans}
    for lacking, where in (
        (sorted(known - rows.keys()), f"is in {dataset.name}, but not in {name}"),
        (sorted(rows.keys() - known), f"is in {name}, but not in {dataset.name}"),
    ):
        if lacking:
            raise DataError(
                f"{len(lacking)} scans differ; first: {lacking[0]} {where}. A file of splits must "
                f"name the scans of the dataset, each once (split 'unused' leaves one out)."
            )
    assigned = []
    for scan in dataset.scans:
        line, row = rows[scan.name]
        where = f"{name}, line {line}"
        if row.get("label") and row["label"] != dataset.classes[scan.positive]:
            raise DataError(
                f"{where}: {scan.name} is labelled {row['label']!r}, and "
                f"{dataset.classes[scan.positive]!r} in {dataset.name}."
            )
        assigned.append(_one(scan, row, where))
    return assigned


def _one(scan: LabelledScan, row: Mapping[str, str], where: str) -> Assigned:
    word = row["split"].strip().lower()
    split = word if word in _LEFT_OUT else split_of_word(word, where)
    if split is None:
        raise DataError(f"{where}: {scan.name} has no split; 'unused' leaves it out.")
    written = row.get("patient", "").strip()
    _same_patient(scan, written, where)
    patient = scan.patient or written or None
    group = row.get("group", "").strip() or patient or scan.name
    return Assigned(replace(scan, patient=patient), group, split)
