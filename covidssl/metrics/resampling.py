"""The cluster bootstrap: whole groups are drawn, and measures of all rounds are had at once.

An interval is a 95 % percentile bootstrap in which whole groups are drawn (patients, groups of
duplicates, or runs of neighbouring files where no patient is known): slices of one patient are no
independent witnesses, and an interval that takes them for such is too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from covidssl.errors import DataError
from covidssl.metrics.labelled import Bools, Floats

ROUNDS = 2000
_PERCENTILES = (2.5, 97.5)
HALF_WIDTH = float(norm.ppf(_PERCENTILES[1] / 100))
"""Of a normal 95 % interval, in standard errors."""
# Weights of one block of rounds: 1.6 MB, so that the passes over it stay in a core's cache.
_BLOCK = 200_000

Measure = Callable[[Floats], Floats]
"""Weights (R, N) of the entries in R rounds -> M measures (R, M); NaN where one is undefined."""


class Estimate(NamedTuple):
    """A value with its 95 % percentile-bootstrap interval."""

    value: float
    low: float
    high: float


class Resampled(NamedTuple):
    """Measures of a set and of its resamples.

    Attributes:
        value: (M,) of the set itself.
        drawn: (R, M) of the resamples in which both classes are.
        skipped: rounds left out because a class was missing in them.
    """

    value: Floats
    drawn: Floats
    skipped: int

    def estimates(self) -> list[Estimate]:
        """An estimate a measure."""
        return [interval(v, d) for v, d in zip(self.value, self.drawn.T, strict=True)]


def interval(value: float, drawn: Floats) -> Estimate:
    """The 95 % percentile interval of one measure's draws (R,), those aside that are undefined.

    NaN three times where the measure of the set itself is undefined.
    """
    defined = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(defined):
        return Estimate(np.nan, np.nan, np.nan)
    low, high = np.percentile(defined, _PERCENTILES)
    return Estimate(float(value), float(low), float(high))


def draws(index: NDArray[np.intp], generator: np.random.Generator, rounds: int) -> Iterator[Floats]:
    """Weights (R, N) of resamples, R at a time: how often each entry's group was drawn.

    Args:
        index: (N,) group of each entry, 0..G-1.
        generator: draws the groups.
        rounds: in all.
    """
    groups = int(index.max()) + 1
    single = len(index) == groups and bool((index == np.arange(groups)).all())
    size = max(1, _BLOCK // max(len(index), groups))
    for start in range(0, rounds, size):
        now = min(size, rounds - start)
        drawn = generator.integers(0, groups, (now, groups), dtype=np.int32)
        places = drawn + np.arange(now)[:, None] * groups
        counts = np.bincount(places.ravel(), minlength=now * groups).reshape(now, groups)
        weights = counts.astype(np.float64)
        yield weights if single else weights[:, index]


def resample(
    measure: Measure,
    labels: Bools,
    index: NDArray[np.intp],
    generator: np.random.Generator,
    rounds: int = ROUNDS,
) -> Resampled:
    """Measures of a set and of `rounds` resamples of its groups.

    Args:
        measure: of weights (R, N).
        labels: (N,) True = positive.
        index: (N,) group of each entry, 0..G-1.
        generator: draws the groups.
        rounds: how often.

    Raises:
        DataError: when no resample holds both classes.
    """
    if rounds < 1:
        raise DataError(f"{rounds} rounds of the bootstrap: expected at least 1.")
    value = measure(np.ones((1, len(labels))))[0]
    kept = []
    positive = labels.astype(np.float64)
    for weights in draws(index, generator, rounds):
        positives = weights @ positive
        whole = (positives > 0) & (positives < weights.sum(axis=1))
        kept.append(measure(weights if whole.all() else weights[whole]))
    drawn = np.concatenate(kept)
    if not len(drawn):
        raise DataError(
            f"In each of {rounds} resamples one class was missing: too few groups carry it. "
            f"More patients of the rarer class are needed."
        )
    return Resampled(value, drawn, rounds - len(drawn))
