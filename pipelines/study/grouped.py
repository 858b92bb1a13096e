"""What every group of images adds to a score: all resamples of whole groups are had at once.

A resample draws whole groups, so it needs no more of a group than what its images add to the cells
of the confusion table, and of every two groups how many pairs of a positive and a negative image
are in the right order. All of that are whole numbers and halves: sums of them carry no rounding, so
that a table comes out the same to the last digit on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.metrics import Metric
from covidssl.metrics.labelled import Floats, checked
from covidssl.metrics.measures import at_threshold, case
from covidssl.metrics.resampling import draws
from covidssl.randomness import numpy_generator
from pipelines.study.folds import Rows
from pipelines.study.records import Found, Images

ROUNDS = 1000
"""Resamples of the groups."""
THRESHOLD = 0.5
"""A chance of one half or more is called COVID."""

_STREAM = 195
_KEPT = 1024


class Scored:
    """One classifier's answers on images that carry a label and a group.

    Two of them with the same content are equal: what was counted once is not counted again.

    Args:
        target: (N,) 1 for COVID.
        group: (N,) number of the group that is resampled whole.
        chance: (N,) probability of COVID.
        parts: (N,) number of the part of the set that is scored on its own; None: the whole set.
    """

    def __init__(
        self, target: Rows, group: Rows, chance: Floats, parts: Rows | None = None
    ) -> None:
        self.target, self.group, self.chance = target, group, chance
        self.parts = np.zeros(len(target), np.int64) if parts is None else parts
        held: Sequence[NDArray[Any]] = (target, group, chance, self.parts)
        self._digest = blake2b(b"|".join(np.ascontiguousarray(one).tobytes() for one in held))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scored) and self._digest.digest() == other._digest.digest()

    def __hash__(self) -> int:
        return hash(self._digest.digest())


def scored_rows(founds: Sequence[Found]) -> Rows:
    """The images that were scored, the same for all.

    Raises:
        DataError: when there is no model, or they score different images.
    """
    if not founds:
        raise DataError("No model is given to score: expected one draw and seed at least.")
    scored = [np.flatnonzero(~np.isnan(found.chance)) for found in founds]
    if any(not np.array_equal(one, scored[0]) for one in scored):
        counts = sorted({len(one) for one in scored})
        raise DataError(
            f"The models score different images ({counts} of them): expected the same, since "
            f"they are compared image by image."
        )
    return scored[0]


def mean_drawn(
    images: Images, founds: Sequence[Found], metric: Metric, rows: Rows, by_fold: bool = False
) -> Floats:
    """Mean over models of a metric: of the set first, then of its resamples, (1 + ROUNDS,).

    Args:
        images: of the set.
        founds: the models.
        metric: what is counted.
        rows: images that count, all of them scored.
        by_fold: whether each fold is counted on its own, and the mean over folds is taken.
    """
    parts = images.fold[rows] if by_fold else None
    total = np.zeros(())
    for found in founds:
        one = Scored(images.target[rows], images.group[rows], found.chance[rows], parts)
        total = total + drawn(one, metric)
    return np.asarray(total / len(founds))


@lru_cache(maxsize=_KEPT)
def drawn(scored: Scored, metric: Metric) -> Floats:
    """The metric of the set, then of its resamples: (1 + ROUNDS,); the mean over its parts.

    NaN where it is undefined: in a resample that lacks a class, in one of its parts too. All
    classifiers of the same groups are seen on the same resamples.

    Raises:
        DataError: when a chance is no probability, a class is absent, all images share a group, or
            the metric is `auprc`.
    """
    if metric == "auprc":
        raise DataError("Average precision is no score of the studies: expected another.")
    checked(scored.target, scored.chance)
    names, group = np.unique(scored.group, return_inverse=True)
    if len(names) < 2:
        raise DataError(
            "All images are of one group: expected two at least, since an interval is made by "
            "drawing whole groups."
        )
    weights = _weights(len(names))
    rows = [np.flatnonzero(scored.parts == part) for part in np.unique(scored.parts)]
    found = [_of_part(scored, group, one, weights, metric) for one in rows]
    mean: Floats = np.mean(found, axis=0)
    mean.setflags(write=False)
    return mean


@lru_cache(maxsize=16)
def _weights(groups: int) -> Floats:
    """(1 + ROUNDS, G): how often each group counts; in the first row once."""
    generator = numpy_generator(_STREAM, groups)
    parts = list(draws(np.arange(groups), generator, ROUNDS))
    return np.concatenate([np.ones((1, groups)), *parts])


def _of_part(
    scored: Scored, group: NDArray[np.intp], rows: Rows, weights: Floats, metric: Metric
) -> Floats:
    """The metric of some rows in every resample: (R,)."""
    labels, chance, own = scored.target[rows] == 1, scored.chance[rows], group[rows]
    member = np.zeros((len(rows), weights.shape[1]))
    member[np.arange(len(rows)), own] = 1.0
    positives, negatives = (weights @ member[of].sum(axis=0) for of in (labels, ~labels))
    lacking = (positives == 0) | (negatives == 0)
    if metric == "auroc":
        won = np.einsum("rg,rg->r", weights @ pairs_won(labels, chance, member), weights)
        with np.errstate(invalid="ignore"):
            found = won / (positives * negatives)
    else:
        judged = case(labels, chance, THRESHOLD)
        called = judged.called
        cells = (labels & called, labels & ~called, ~labels & called, ~labels & ~called)
        table = member.T @ np.column_stack((*cells, judged.errors)).astype(np.float64)
        found = at_threshold(weights @ table)[metric]
    return np.asarray(np.where(lacking, np.nan, found))


def pairs_won(labels: NDArray[np.bool_], chance: Floats, member: Floats) -> Floats:
    """(G, G): of the positives of a row's group against the negatives of a column's, pairs won.

    A pair of equal chances counts half (H. B. Mann and D. R. Whitney, Ann. Math. Statist. 1947).

    Args:
        labels: (N,) True = positive.
        chance: (N,).
        member: (N, G) 1 in the column of each image's group.
    """
    order = np.argsort(chance[~labels], kind="stable")
    below = np.zeros((len(order) + 1, member.shape[1]))
    np.cumsum(member[~labels][order], axis=0, out=below[1:])
    lesser = chance[~labels][order]
    sides = [below[np.searchsorted(lesser, chance[labels], side)] for side in ("left", "right")]
    won: Floats = member[labels].T @ (sides[0] + sides[1]) / 2
    return won
