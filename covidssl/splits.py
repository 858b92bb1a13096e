"""Who trains, who validates, who tests: decided by patient or by blocks, and written down."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from covidssl.datasets import SPLITS, Dataset, LabelledScan
from covidssl.errors import DataError
from covidssl.files import read_csv, write_csv
from covidssl.randomness import numpy_generator

log = logging.getLogger(__name__)

_SPLIT_STREAM, _FRACTION_STREAM = 21, 22
_COLUMNS = ("scan", "label", "patient", "group", "split")


class SplitPlan(BaseModel):
    """How a dataset is split.

    Attributes:
        kind: `given` by the dataset's own column; by `patient`; `blocked`, contiguous ranges of the
            natural file order of each class, for sets without patient ids whose file order follows
            the patients; `random`, which lets a patient's slices stand on both sides. `auto` is
            `given` or `patient` where the dataset has such a column, and else refuses to choose.
        test: share of patients (or scans) for testing.
        validation: share of patients (or scans) for validation.
        blocks: number of contiguous ranges of each class.
        test_blocks: which of them test.
        validation_blocks: which of them validate.
        gap: scans left out at each border between two splits, on the side that is not the test's.
        run_length: consecutive files that stand for one patient when intervals are computed and
            when a fraction of the labels is drawn.
        label_fraction: share of the labels that may be used, in whole patients (or runs).
        label_draw: which draw of that fraction.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["auto", "given", "patient", "blocked", "random"] = "auto"
    test: float = Field(0.2, gt=0, lt=1)
    validation: float = Field(0.15, gt=0, lt=1)
    blocks: int = Field(10, ge=3)
    test_blocks: tuple[int, ...] = (2, 5, 8)
    validation_blocks: tuple[int, ...] = (0,)
    gap: int = Field(30, ge=0)
    run_length: int = Field(20, ge=1)
    label_fraction: float = Field(1.0, gt=0, le=1)
    label_draw: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _blocks_are_there(self) -> Self:
        chosen = Counter((*self.test_blocks, *self.validation_blocks))
        wrong = [block for block, n in chosen.items() if n > 1 or not 0 <= block < self.blocks]
        if wrong and self.kind == "blocked":
            raise ValueError(
                f"test_blocks and validation_blocks name block {wrong[0]} twice, or there is none: "
                f"blocks are numbered 0 to {self.blocks - 1}"
            )
        return self


@dataclass(frozen=True)
class Assigned:
    """One scan with its place: `split` is train, validation, test, gap or unused."""

    scan: LabelledScan
    group: str
    split: str


def split_dataset(dataset: Dataset, plan: SplitPlan, seed: int) -> list[Assigned]:
    """Give every scan its split and the group that is resampled whole.

    Raises:
        DataError: when a patient stands in two splits, when a split lacks a class, when only some
            scans carry a split, or when the dataset carries neither splits nor patients and no
            kind was chosen.
    """
    kind = _kind(dataset, plan)
    assigned = {
        "given": lambda: _given(dataset),
        "patient": lambda: _by_patient(dataset.scans, plan, seed),
        "random": lambda: _random(dataset.scans, plan, seed),
        "blocked": lambda: _blocked(dataset.scans, plan),
    }[kind]()
    assigned = _take_fraction(assigned, plan, seed)
    check_splits(assigned, dataset)
    return assigned


def check_splits(assigned: Sequence[Assigned], dataset: Dataset) -> None:
    """Refuse splits that leak or that cannot be used.

    Raises:
        DataError: for a patient in two splits, for a split without one of the classes, and where
            nothing is left to train or validate on.
    """
    places: dict[str, set[str]] = defaultdict(set)
    for one in assigned:
        if one.scan.patient and one.split in SPLITS:
            places[one.scan.patient].add(one.split)
    leaks = {patient: sorted(found) for patient, found in places.items() if len(found) > 1}
    if leaks:
        patient, found = next(iter(leaks.items()))
        raise DataError(
            f"{dataset.name}: {len(leaks)} patients stand in more than one split; first: "
            f"{patient} in {' and '.join(found)}. Split by patient, not by scan."
        )
    counts = Counter((one.split, one.scan.positive) for one in assigned)
    used = {"train", "validation"} | {one.split for one in assigned}  # a set may do without tests
    for split in [split for split in SPLITS if split in used]:
        for positive in (False, True):
            if not counts[split, positive]:
                raise DataError(
                    f"{dataset.name}: the {split} split holds no scan of class "
                    f"'{dataset.classes[positive]}'. Change the split, or give more scans."
                )


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
        DataError: when the dataset lacks a scan of the splits, or labels it otherwise.
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
        scan = replace(scan, patient=row["patient"] or None)
        assigned.append(Assigned(scan, row["group"], row["split"]))
    return assigned


def splits_fingerprint(assigned: Sequence[Assigned]) -> str:
    """SHA-256 over scan, label, group and split of every scan, whatever their order."""
    lines = sorted(
        json.dumps([one.scan.name, one.scan.positive, one.group, one.split]) for one in assigned
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def group_kind(assigned: Sequence[Assigned]) -> str:
    """What is resampled whole when an interval is computed, in words."""
    if all(one.scan.patient for one in assigned):
        return "patient"
    if any(one.scan.patient for one in assigned):
        return "patient where known, else a run of neighbouring files or a scan"
    if all(one.group == one.scan.name for one in assigned):
        return "scan"
    return "run of neighbouring files (no patient ids)"


def _kind(dataset: Dataset, plan: SplitPlan) -> str:
    marked = Counter(scan.split for scan in dataset.scans if scan.split)
    has_splits = marked.total() == len(dataset.scans)
    has_patients = all(scan.patient for scan in dataset.scans)
    if plan.kind in ("auto", "given"):
        _check_marks(dataset, plan.kind, marked)
    elif marked:
        log.warning(
            "%s: its own splits (%s) are not used: split.kind is '%s'. Scans that it marks as test "
            "may be learnt from.",
            dataset.name,
            _counted(marked),
            plan.kind,
        )
    if plan.kind == "patient" and not has_patients:
        raise DataError(f"{dataset.name}: split.kind is 'patient', but some scans have none.")
    if plan.kind != "auto":
        return plan.kind
    if has_splits or has_patients:
        return "given" if has_splits else "patient"
    raise DataError(
        f"{dataset.name}: no patients and no splits are known, so covidssl does not choose. "
        f"Give a CSV with a patient column, or choose --set split.kind=blocked (contiguous file "
        f"order, safer) or split.kind=random (slices of one patient may stand on both sides)."
    )


def _check_marks(dataset: Dataset, kind: str, marked: Counter[str]) -> None:
    blank = len(dataset.scans) - marked.total()
    if marked and blank:
        raise DataError(
            f"{dataset.name}: only {marked.total()} of {len(dataset.scans)} scans carry a split "
            f"({_counted(marked)}), {blank} rows have no split. Fill the column for every scan, or "
            f"leave it out; or choose another split: --set split.kind=patient, blocked or random, "
            f"which does not look at the column."
        )
    if kind == "given" and blank:
        raise DataError(f"{dataset.name}: split.kind is 'given', but some rows have no split.")


def _counted(marked: Counter[str]) -> str:
    return ", ".join(f"{marked[split]} {split}" for split in SPLITS if marked[split])


def _given(dataset: Dataset) -> list[Assigned]:
    marked = Counter(str(scan.split) for scan in dataset.scans)
    if marked["train"] and not marked["validation"]:
        raise DataError(
            f"{dataset.name}: the validation split holds no scan; its column says "
            f"{_counted(marked)}. Mark some of the train patients of both classes as validation "
            f"(about one in six): weights, calibration and operating point are chosen on them, and "
            f"must not be chosen on the test split."
        )
    return [Assigned(scan, scan.patient or scan.name, str(scan.split)) for scan in dataset.scans]


def _by_patient(scans: Sequence[LabelledScan], plan: SplitPlan, seed: int) -> list[Assigned]:
    groups = {scan.name: str(scan.patient) for scan in scans}
    return _deal(scans, groups, plan, seed)


def _random(scans: Sequence[LabelledScan], plan: SplitPlan, seed: int) -> list[Assigned]:
    log.warning("A random split: slices of one patient may stand on both sides of it.")
    return _deal(scans, {scan.name: scan.name for scan in scans}, plan, seed)


def _deal(
    scans: Sequence[LabelledScan], groups: dict[str, str], plan: SplitPlan, seed: int
) -> list[Assigned]:
    # A group is dealt with the class of its first scan, so that classes stay balanced.
    first = {groups[scan.name]: scan.positive for scan in reversed(scans)}
    split_of: dict[str, str] = {}
    for positive in (False, True):
        names = sorted(group for group, of in first.items() if of == positive)
        order = numpy_generator(seed, _SPLIT_STREAM, int(positive)).permutation(len(names))
        tests = max(1, round(plan.test * len(names)))
        validations = max(1, round(plan.validation * len(names)))
        for rank, index in enumerate(order):
            split = (
                "test" if rank < tests else "validation" if rank < tests + validations else "train"
            )
            split_of[names[index]] = split
    return [Assigned(scan, groups[scan.name], split_of[groups[scan.name]]) for scan in scans]


def _blocked(scans: Sequence[LabelledScan], plan: SplitPlan) -> list[Assigned]:
    assigned = []
    for positive in (False, True):
        ordered = [scan for scan in scans if scan.positive == positive]  # natural file order
        edges = np.linspace(0, len(ordered), plan.blocks + 1).round().astype(int)
        block_of = np.searchsorted(edges, np.arange(len(ordered)), side="right") - 1
        splits = [_block_split(int(block), plan) for block in block_of]
        gaps = _gap_places(splits, plan.gap)
        for place, scan in enumerate(ordered):
            group = (
                scan.patient
                or f"{'positive' if positive else 'negative'}-{place // plan.run_length:04d}"
            )
            assigned.append(Assigned(scan, group, "gap" if place in gaps else splits[place]))
    return assigned


def _block_split(block: int, plan: SplitPlan) -> str:
    if block in plan.test_blocks:
        return "test"
    return "validation" if block in plan.validation_blocks else "train"


def _gap_places(splits: Sequence[str], gap: int) -> set[int]:
    """Places left out: beside each border, on the side of the split that matters less."""
    weight = {"train": 0, "validation": 1, "test": 2}
    places: set[int] = set()
    for right in range(1, len(splits)):
        before, after = splits[right - 1], splits[right]
        if before == after:
            continue
        if weight[before] < weight[after]:
            places |= set(range(max(right - gap, 0), right))
        else:
            places |= set(range(right, min(right + gap, len(splits))))
    return places


def _take_fraction(assigned: list[Assigned], plan: SplitPlan, seed: int) -> list[Assigned]:
    if plan.label_fraction == 1.0:
        return assigned
    kept: set[tuple[str, str]] = set()
    for split in ("train", "validation"):
        for positive in (False, True):
            part = [a for a in assigned if a.split == split and a.scan.positive == positive]
            sizes = Counter(one.group for one in part)
            names = sorted(sizes)
            key = (seed, _FRACTION_STREAM, plan.label_draw, SPLITS.index(split), int(positive))
            taken = 0
            for index in numpy_generator(*key).permutation(len(names)):
                if taken >= plan.label_fraction * len(part):
                    break
                kept.add((split, names[index]))
                taken += sizes[names[index]]
    return [
        one
        if one.split not in ("train", "validation") or (one.split, one.group) in kept
        else replace(one, split="unused")
        for one in assigned
    ]
