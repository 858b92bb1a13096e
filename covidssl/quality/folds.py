"""How a labelled set is cut into folds: by patient or by blocks of the file order, never at random.

On a random split slices of one patient stand on both sides, and memory is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.datasets import LabelledScan
from covidssl.duplicates import groups_of
from covidssl.errors import DataError
from covidssl.randomness import numpy_generator
from covidssl.splits import Prints, widest_gap

_STREAM = 91
_FEWEST = 3  # one to score, one to choose the probe's strength, one to learn from

Rows = NDArray[np.int64]


class Fold(NamedTuple):
    """Rows to learn from, to choose the probe's strength on, and to score; no two share any."""

    learn: Rows
    choose: Rows
    score: Rows


@dataclass(frozen=True)
class Folds:
    """Every scan is scored once, by a probe that has seen neither its patient nor its like.

    Attributes:
        text: how the folds were made, in words.
        folds: of the scans that were given.
    """

    text: str
    folds: tuple[Fold, ...]


def make_folds(
    scans: tuple[LabelledScan, ...], prints: Prints, wanted: int, gap: int = 30
) -> Folds:
    """Cut scans into folds; the same scans are cut alike in every run.

    Where every patient is known, whole patients are dealt. Else each class is cut into contiguous
    ranges of its file order, with a gap at their borders. Either way near duplicates, and scans of
    one patient, are never both learnt from and scored.

    Args:
        scans: in natural file order.
        prints: of these scans, in this order.
        wanted: folds; fewer where a class has fewer patients.
        gap: scans of a class left out at a border of a block, half a block at most.

    Raises:
        DataError: when a class has too few patients or scans, or nothing is left to learn from.
    """
    target = np.array([int(scan.positive) for scan in scans], np.int64)
    joined = groups_of(len(scans), np.concatenate((prints.alike[:, :2], _of_patients(scans))))
    by_patient = all(scan.patient for scan in scans)
    sizes = [len(np.unique(joined[target == k])) for k in (0, 1)]
    count = min(wanted, *sizes)
    if count < _FEWEST:
        raise DataError(
            f"The labelled set has {sizes[1]} patients or distinct scans of the positive class and "
            f"{sizes[0]} of the other; a probe needs at least {_FEWEST} of each. Give more."
        )
    if by_patient:
        fold, wide = _dealt(joined, target, count), 0
        text = f"{count} folds of whole patients"
    else:
        fold = _blocked(target, count)
        wide = min(gap, widest_gap(np.bincount(target).tolist(), count))
        text = f"{count} contiguous ranges of each class, {wide} scans left out at each border"
    folds = tuple(_fold(number, fold, joined, target, wide) for number in range(count))
    if any(len(np.unique(target[rows])) < 2 for one in folds for rows in one):
        raise DataError(
            f"The labelled set cannot be cut into {text} with both classes in each: near "
            f"duplicates join too many of its scans. Give more scans, or name their patients."
        )
    return Folds(text, folds)


def _of_patients(scans: tuple[LabelledScan, ...]) -> Rows:
    """(P, 2) pairs that tie the scans of each patient together."""
    first: dict[str, int] = {}
    pairs = [
        (first.setdefault(scan.patient, row), row) for row, scan in enumerate(scans) if scan.patient
    ]
    return np.array([pair for pair in pairs if pair[0] != pair[1]], np.int64).reshape(-1, 2)


def _dealt(group: Rows, target: Rows, count: int) -> Rows:
    """The fold of each scan: whole groups, dealt class by class so that folds stay alike."""
    fold_of: Rows = np.zeros(int(group.max()) + 1, np.int64)
    _, first = np.unique(group, return_index=True)
    for positive in (0, 1):
        # A group goes with the class of its first scan.
        names = group[first[target[first] == positive]]
        order = numpy_generator(_STREAM, positive).permutation(len(names))
        fold_of[names[order]] = np.arange(len(names)) % count
    return fold_of[group]


def _blocked(target: Rows, count: int) -> Rows:
    fold: Rows = np.empty(len(target), np.int64)
    for positive in (0, 1):
        rows = np.flatnonzero(target == positive)
        fold[rows] = np.arange(len(rows)) * count // len(rows)
    return fold


def _fold(number: int, fold: Rows, group: Rows, target: Rows, gap: int) -> Fold:
    """One fold: the next one chooses, the others teach, less what is like or beside a later use."""
    count = int(fold.max()) + 1
    place: Rows = np.empty(len(target), np.int64)
    for positive in (0, 1):
        rows = np.flatnonzero(target == positive)
        place[rows] = np.arange(len(rows))
    taken = fold == number
    parts = [np.flatnonzero(taken)]
    for part in (fold == (number + 1) % count, fold != number):
        left = part & ~taken & ~np.isin(group, group[taken]) & ~_beside(taken, place, target, gap)
        parts.append(np.flatnonzero(left))
        taken |= left | (fold == (number + 1) % count)
    score, choose, learn = parts
    return Fold(learn, choose, score)


def _beside(taken: NDArray[np.bool_], place: Rows, target: Rows, gap: int) -> NDArray[np.bool_]:
    """Scans at most `gap` places from a taken one of their class."""
    near = np.zeros(len(taken), np.bool_)
    for positive in (0, 1):
        own = target == positive
        line = np.zeros(int(own.sum()) + 2 * gap + 1, np.int64)
        np.add.at(line, place[taken & own], 1)
        np.add.at(line, place[taken & own] + 2 * gap + 1, -1)
        # After the sum, entry p + gap counts the taken ones from p - gap to p + gap.
        near[own] = np.cumsum(line)[place[own] + gap] > 0
    return near
