"""Every scan gets its split: by given lists, patients, near duplicates, blocks or chance."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from covidssl.datasets import SPLITS, Dataset, LabelledScan
from covidssl.errors import DataError
from covidssl.randomness import numpy_generator
from covidssl.splits.plan import Assigned, Kind, SplitPlan, run_name
from covidssl.splits.prints import Prints
from covidssl.splits.runs import widest_gap

log = logging.getLogger(__name__)

_SPLIT_STREAM, _FRACTION_STREAM = 21, 22
_MOST_LOST = 1 / 3  # of the training scans, to gaps, without a warning


def split_dataset(
    dataset: Dataset, plan: SplitPlan, seed: int, prints: Prints | None = None
) -> list[Assigned]:
    """Give every scan its split and the group that is resampled whole.

    Whether the split leaks is another question: `covidssl.splits.leaks`.

    Args:
        dataset: the scans.
        plan: how.
        seed: of what is drawn.
        prints: of the scans that could be read, for a `grouped` split.

    Raises:
        DataError: when a split lacks a class, when only some scans carry a split, when the dataset
            carries neither splits nor patients and no kind was chosen, and for a `grouped` split
            without prints.
    """
    kind = kind_of(dataset, plan)
    if kind != "given":
        _warn_of_marks(dataset, kind)
    scans = dataset.scans
    hint = ""
    if kind == "given":
        assigned = _given(dataset)
    elif kind == "patient":
        assigned = _deal(scans, {scan.name: str(scan.patient) for scan in scans}, plan, seed)
    elif kind == "grouped":
        assigned = _deal(scans, _joined(dataset, prints), plan, seed)
    elif kind == "random":
        log.warning("A random split: slices of one patient may stand on both sides of it.")
        assigned = _deal(scans, {scan.name: scan.name for scan in scans}, plan, seed)
        assigned = [replace(one, group=one.scan.patient or one.group) for one in assigned]
    else:
        plan = with_bearable_gap(plan, dataset)
        assigned = _blocked(scans, plan)
        hint = (
            f" It was cut into {plan.blocks} blocks of each class with a gap of {plan.gap} scans: "
            f"--set split.blocks, split.gap, split.test_blocks."
        )
    assigned = take_fraction(assigned, plan, seed)
    check_splits(assigned, dataset, hint)
    return assigned


def with_bearable_gap(plan: SplitPlan, dataset: Dataset) -> SplitPlan:
    """A plan of blocks whose gap runs through no neighbour of a border."""
    sizes = [sum(scan.positive == positive for scan in dataset.scans) for positive in (False, True)]
    widest = widest_gap(sizes, plan.blocks)
    if plan.gap <= widest:
        return plan
    log.warning(
        "%s: a gap of %d scans is too wide for %d blocks of %d scans; %d are left out at each "
        "border, half a block.", dataset.name, plan.gap, plan.blocks, min(sizes) // plan.blocks,
        widest,
    )  # fmt: skip
    return plan.model_copy(update={"gap": widest})


def check_splits(assigned: Sequence[Assigned], dataset: Dataset, hint: str = "") -> None:
    """Refuse splits that cannot be used; `hint` says what they were made with.

    Raises:
        DataError: for a split without one of the classes, and where nothing is left to train or
            validate on.
    """
    counts = Counter((one.split, one.scan.positive) for one in assigned)
    used = {"train", "validation"} | {one.split for one in assigned}  # a set may do without tests
    for split in [split for split in SPLITS if split in used]:
        for positive in (False, True):
            if not counts[split, positive]:
                raise DataError(
                    f"{dataset.name}: the {split} split holds no scan of class "
                    f"'{dataset.classes[positive]}'. Change the split, or give more scans.{hint}"
                )


def kind_of(dataset: Dataset, plan: SplitPlan) -> Kind:
    """The kind of split that a plan means for a dataset.

    Raises:
        DataError: when the dataset does not carry what the kind needs, or when it is for the user
            to choose.
    """
    marked = Counter(scan.split for scan in dataset.scans if scan.split)
    has_splits = marked.total() == len(dataset.scans)
    has_patients = all(scan.patient for scan in dataset.scans)
    if plan.kind in ("auto", "given"):
        _check_marks(dataset, plan.kind, marked)
    if plan.kind == "patient" and not has_patients:
        raise DataError(f"{dataset.name}: split.kind is 'patient', but some scans have none.")
    if plan.kind != "auto":
        return plan.kind
    if has_splits or has_patients:
        return "given" if has_splits else "patient"
    raise DataError(
        f"{dataset.name}: no patients and no splits are known, so covidssl does not choose. "
        f"Give a CSV with a patient column, or choose --set split.kind=blocked (contiguous file "
        f"order, safer), split.kind=grouped (near duplicates on one side) or split.kind=random "
        f"(slices of one patient may stand on both sides)."
    )


def take_fraction(assigned: list[Assigned], plan: SplitPlan, seed: int) -> list[Assigned]:
    """Put labels beyond the plan's fraction aside as `unused`, in whole groups."""
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
        else replace(one, split="unused", was=one.split)
        for one in assigned
    ]


def _check_marks(dataset: Dataset, kind: str, marked: Counter[str]) -> None:
    blank = len(dataset.scans) - marked.total()
    if marked and blank:
        raise DataError(
            f"{dataset.name}: only {marked.total()} of {len(dataset.scans)} scans carry a split "
            f"({_counted(marked)}), {blank} rows have no split. Fill the column for every scan, or "
            f"leave it out; or choose another split: --set split.kind=patient, blocked, grouped or "
            f"random, which does not look at the column."
        )
    if kind == "given" and blank:
        raise DataError(f"{dataset.name}: split.kind is 'given', but some rows have no split.")


def _warn_of_marks(dataset: Dataset, kind: Kind) -> None:
    marked = Counter(scan.split for scan in dataset.scans if scan.split)
    if marked:
        log.warning(
            "%s: its own splits (%s) are not used: split.kind is '%s'. Scans that it marks as test "
            "may be learnt from.",
            dataset.name,
            _counted(marked),
            kind,
        )


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


def _joined(dataset: Dataset, prints: Prints | None) -> dict[str, str]:
    """Group of each scan: what near duplicates and patients join, named by what it is made of."""
    if prints is None:
        raise DataError(
            f"{dataset.name}: split.kind is 'grouped', which needs the pictures of the scans."
        )
    alike = prints.groups()
    marks = {
        scan.name: [
            *([("patient", scan.patient)] if scan.patient else []),
            *([("alike", str(alike[scan.name]))] if scan.name in alike else []),
        ]
        for scan in dataset.scans
    }
    sets = DisjointSet([*marks, *dict.fromkeys(mark for of in marks.values() for mark in of)])
    for name, of in marks.items():
        for mark in of:
            sets.merge(name, mark)
    members: dict[object, list[LabelledScan]] = defaultdict(list)
    for scan in dataset.scans:
        members[sets[scan.name]].append(scan)
    named: dict[str, str] = {}
    for scans in members.values():
        patients = {scan.patient for scan in scans}
        whole = len(patients) == 1 and None not in patients
        name = str(scans[0].patient) if whole else min(scan.name for scan in scans)
        named |= {scan.name: name for scan in scans}
    return named


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
    learnt, lost = 0, 0
    for positive in (False, True):
        ordered = [scan for scan in scans if scan.positive == positive]  # natural file order
        edges = np.linspace(0, len(ordered), plan.blocks + 1).round().astype(int)
        block_of = np.searchsorted(edges, np.arange(len(ordered)), side="right") - 1
        splits = [_block_split(int(block), plan) for block in block_of]
        gaps = _gap_places(splits, plan.gap)
        learnt += splits.count("train")
        lost += sum(splits[place] == "train" for place in gaps)
        for place, scan in enumerate(ordered):
            group = scan.patient or run_name(positive, place // plan.run_length)
            assigned.append(Assigned(scan, group, "gap" if place in gaps else splits[place]))
    if lost > _MOST_LOST * learnt:
        log.warning(
            "The gaps between blocks take %d of %d training scans (%d blocks a class, a gap of %d "
            "scans); fewer test_blocks leave more to learn from.", lost, learnt, plan.blocks,
            plan.gap,
        )  # fmt: skip
    return assigned


def _block_split(block: int, plan: SplitPlan) -> str:
    if block in plan.test_blocks:
        return "test"
    return "validation" if block in plan.validation_blocks else "train"


def _gap_places(splits: Sequence[str], gap: int) -> set[int]:
    """Places left out: beside each border, on the side of the split that matters less."""
    places: set[int] = set()
    for right in range(1, len(splits)):
        before, after = splits[right - 1], splits[right]
        if before == after:
            continue
        if SPLITS.index(before) < SPLITS.index(after):
            places |= set(range(max(right - gap, 0), right))
        else:
            places |= set(range(right, min(right + gap, len(splits))))
    return places
