"""AUROC over pairs of one fold: what models of several folds said is not on one scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.metrics import Estimate
from covidssl.metrics.resampling import draws

Floats = NDArray[np.float64]

_PERCENTILES = (2.5, 97.5)


class _Ranked:
    """One fold, sorted once: the pairs that are won under any weights are sums over ties."""

    def __init__(
        self, rows: NDArray[np.intp], positive: NDArray[np.bool_], probability: Floats
    ) -> None:
        order = np.argsort(probability[rows], kind="stable")
        self.rows = rows[order]
        self._positive = positive[self.rows]
        self._ties = np.flatnonzero(np.r_[True, np.diff(probability[self.rows]) != 0])

    def pairs(self, weights: Floats) -> tuple[Floats, Floats]:
        """Pairs won, a tie counting half, and all pairs: each (R,), of weights (R, n)."""
        positive = np.add.reduceat(weights * self._positive, self._ties, axis=1)
        negative = np.add.reduceat(weights * ~self._positive, self._ties, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        return (positive * below).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1)


def auroc_within_folds(
    target: NDArray[np.integer],
    probability: Floats,
    fold: NDArray[np.integer],
    group: Sequence[str],
    generator: np.random.Generator,
    rounds: int,
) -> Estimate:
    """Share of pairs of one fold that are ranked right: the folds' AUROC, weighted by pairs.

    Over all folds at once an AUROC is drawn below chance: a fold with more scans of one class is
    scored by a model that has learnt from fewer of them.

    Args:
        target: (N,) labels, 1 = positive.
        probability: (N,) of the positive class.
        fold: (N,) which fold's model said it.
        group: (N,) what is resampled whole for the interval.
        generator: draws the groups.
        rounds: of the bootstrap.

    Raises:
        DataError: when no fold scores both classes.
    """
    positive = np.asarray(target) == 1
    folds = [np.flatnonzero(fold == number) for number in np.unique(fold)]
    ranked = [
        _Ranked(rows, positive, probability)
        for rows in folds
        if positive[rows].any() and not positive[rows].all()
    ]
    if not ranked:
        raise DataError("No fold scores both classes: an AUROC has no pair to compare.")
    _, index = np.unique(np.asarray(group, dtype=str), return_inverse=True)
    value = _share(ranked, np.ones((1, len(positive))))[0]
    drawn = _resampled(ranked, index, generator, rounds)
    low, high = np.percentile(drawn, _PERCENTILES)
    return Estimate(float(value), float(low), float(high))


def spread_by_chance(
    target: NDArray[np.integer], fold: NDArray[np.integer], group: Sequence[str]
) -> float:
    """Standard deviation of an AUROC within folds if scores knew nothing.

    Mann and Whitney's, fold by fold, with groups for witnesses: scans of one are no further ones.

    Args:
        target: (N,) labels, 1 = positive.
        fold: (N,) which fold's model scored each scan.
        group: (N,) what each scan is of.
    """
    names = np.asarray(group, dtype=str)
    variance = pairs = 0.0
    for number in np.unique(fold):
        inside = fold == number
        negative, positive = (len(np.unique(names[inside & (target == k)])) for k in (0, 1))
        pairs += negative * positive
        variance += negative * positive * (negative + positive + 1) / 12
    return float(np.sqrt(variance) / pairs) if pairs else float("inf")


def _resampled(
    ranked: Sequence[_Ranked],
    index: NDArray[np.intp],
    generator: np.random.Generator,
    rounds: int,
) -> Floats:
    """Shares of resamples of whole groups; those without a pair are left out."""
    shares = np.concatenate(
        [_share(ranked, weights) for weights in draws(index, generator, rounds)]
    )
    kept: Floats = shares[np.isfinite(shares)]
    if not len(kept):
        raise DataError(
            f"In each of {rounds} resamples no fold held both classes: too few groups carry them."
        )
    return kept


def _share(ranked: Sequence[_Ranked], weights: Floats) -> Floats:
    counted = [one.pairs(weights[:, one.rows]) for one in ranked]
    won, pairs = (np.sum(side, axis=0) for side in zip(*counted, strict=True))
    share: Floats = np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return share
