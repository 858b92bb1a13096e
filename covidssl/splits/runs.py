"""Runs of neighbouring files stand for patients where file order carries them and none is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from covidssl.datasets import Dataset, LabelledScan
from covidssl.file_order import OrderEffect, order_effect
from covidssl.io import natural_order
from covidssl.splits.plan import Assigned, SplitPlan, run_name
from covidssl.splits.prints import Prints

_LEAST_RUNS = 10
_FEWEST = 3
_MOST_BLOCKS, _SPREAD_FROM, _FEW_BLOCKS = 10, 8, 5
_GAPS_A_BLOCK = 4


def groups_of_scans(scans: Sequence[LabelledScan], run_length: int) -> list[str]:
    """What is resampled whole: the patient, or a run of neighbouring files of one class.

    Runs are shorter where there would be fewer than ten of a class: fewer tell nothing.

    Args:
        scans: in natural file order.
        run_length: files of a run; 1 where the order of files tells nothing.
    """
    sizes = Counter(scan.positive for scan in scans)
    lengths = {k: max(1, min(run_length, sizes[k] // _LEAST_RUNS)) for k in (False, True)}
    counts: Counter[bool] = Counter()
    names = []
    for scan in scans:
        run = counts[scan.positive] // lengths[scan.positive]
        counts[scan.positive] += 1
        names.append(f"patient {scan.patient}" if scan.patient else run_name(scan.positive, run))
    return names


def in_runs(assigned: Sequence[Assigned], prints: Prints, run_length: int) -> list[Assigned]:
    """Scans of nobody known, each its own group, in runs where file order carries patients.

    Without it their intervals would take slices of one patient for as many patients.

    Args:
        assigned: the split; groups of several scans, and patients, stay as they are.
        prints: of the scans that could be read.
        run_length: files of a run.
    """
    single = of_nobody_known(assigned)
    found = order_of([one.scan for one in assigned if one.scan.name in single], prints)
    if found is None or not found[1].carries_patients:
        return list(assigned)
    scans = sorted((one.scan for one in assigned), key=lambda scan: natural_order(scan.name))
    run_of = dict(
        zip((scan.name for scan in scans), groups_of_scans(scans, run_length), strict=True)
    )
    return [
        replace(one, group=run_of[one.scan.name]) if one.scan.name in single else one
        for one in assigned
    ]


def of_nobody_known(assigned: Sequence[Assigned]) -> set[str]:
    """Names of scans without a patient that are in no group with others."""
    sizes = Counter(one.group for one in assigned)
    return {
        one.scan.name
        for one in assigned
        if not one.scan.patient and one.group == one.scan.name and sizes[one.group] == 1
    }


def order_of(
    scans: Sequence[LabelledScan], prints: Prints
) -> tuple[list[LabelledScan], OrderEffect] | None:
    """Scans in file order, and whether it carries patients; None where there are too few.

    Args:
        scans: to look at; those without prints are left out.
        prints: of the scans that could be read.
    """
    row = {name: place for place, name in enumerate(prints.names)}
    ordered = sorted(
        (scan for scan in scans if scan.name in row), key=lambda scan: natural_order(scan.name)
    )
    part = np.array([int(scan.positive) for scan in ordered], dtype=np.int64)
    if not len(part) or np.bincount(part).max() < _FEWEST:
        return None
    features = prints.thumbnails[[row[scan.name] for scan in ordered]]
    return ordered, order_effect(features, part)


def widest_gap(sizes: Sequence[int], blocks: int) -> int:
    """The widest gap that blocks bear: half a block of the smallest class.

    Args:
        sizes: scans of each class.
        blocks: contiguous ranges that each class is cut into.
    """
    return min(sizes) // (2 * blocks)


def blocks_for(dataset: Dataset, order: OrderEffect) -> SplitPlan:
    """Contiguous blocks that are some gaps long, so that the gaps do not eat them up.

    Where a class is too short for test blocks spread over it, its first fifth validates and its
    last tests: two borders are all that is lost then.

    Args:
        dataset: the scans.
        order: of its files; its reach is the gap, where the blocks bear it.
    """
    sizes = [sum(scan.positive == k for scan in dataset.scans) for k in (False, True)]
    blocks = min(min(sizes) // (_GAPS_A_BLOCK * max(order.gap, 1)), _MOST_BLOCKS)
    tests = tuple(range(2, blocks, 3))
    if blocks < _SPREAD_FROM:
        blocks, tests = _FEW_BLOCKS, (_FEW_BLOCKS - 1,)
    gap = min(order.gap, widest_gap(sizes, blocks))
    return SplitPlan(
        kind="blocked", blocks=blocks, test_blocks=tests, validation_blocks=(0,), gap=gap
    )
