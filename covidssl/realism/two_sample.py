"""How far apart two groups of lesions lie, descriptor by descriptor, with intervals.

Lesions of neighbouring slices are the same lesion seen twice: intervals come from resampling
clusters (case x block of slices), within each case. They say how steady the numbers are for these
cases; how other patients would differ, two cases cannot tell.

A distance is never negative: sampling alone moves it up, and resampling moves it up once more, so
that all percentiles of the resamples may lie above the estimate. Noise adds to distances as squares
do. The lower end of an interval is therefore that of the basic bootstrap, which turns the resamples
about the estimate, on the scale of squares (Davison and Hinkley 1997, Bootstrap Methods and their
Application, section 5.2); the upper end is the percentile, which errs upwards.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, wasserstein_distance

from covidssl.metrics import Estimate
from covidssl.randomness import numpy_generator
from covidssl.realism.descriptors import BINS_HU, NAMES, Described

CASE_OF_CLUSTER = 100
"""A cluster's number divided by it is its case."""

_LEAST_LESIONS = 5
_MIDDLES = (BINS_HU[:-1] + BINS_HU[1:]) / 2
DISTANCES = ("inside", "ring", *NAMES)
"""What is compared: the two histograms, then each descriptor."""


def distances(
    left: Described, right: Described, draws: int, key: tuple[int, ...]
) -> dict[str, Estimate | None]:
    """Wasserstein distances, in the descriptor's unit, with the 95 % intervals of `interval`.

    `inside` and `ring` compare all pixels, every lesion weighing the same; the others one number
    a lesion. An interval from 0 says that the groups may be alike.

    Args:
        left: one group of lesions.
        right: the other.
        draws: bootstrap resamples.
        key: of the generator, see `covidssl.randomness`.

    Returns:
        By the names of `DISTANCES`; None where either group has fewer than five lesions.
    """
    rng = numpy_generator(*key)
    resampled = [(resample(left.cluster, rng), resample(right.cluster, rng)) for _ in range(draws)]
    found: dict[str, Estimate | None] = {}
    for name in DISTANCES:
        a, b = _samples(left, name), _samples(right, name)
        if min(_known(a).sum(), _known(b).sum()) < _LEAST_LESIONS:
            found[name] = None
            continue
        drawn = [_distance(a[rows], b[others]) for rows, others in resampled]
        found[name] = interval(_distance(a, b), drawn)
    return found


def interval(value: float, drawn: Sequence[float]) -> Estimate:
    """A distance with its 95 % bootstrap interval: it holds the distance and never ends below 0.

    Args:
        value: the distance.
        drawn: the distance in every resample; NaN where it could not be had.
    """
    low, high = (float(end) for end in np.nanpercentile(drawn, (2.5, 97.5)))
    turned = math.sqrt(max(0.0, 2 * value**2 - high**2))
    return Estimate(value, min(turned, low, value), max(high, value))


def alone(left: Described, right: Described) -> dict[str, float | None]:
    """AUROC of each descriptor by itself: above 0.5 where it tends to be larger at the right."""
    found: dict[str, float | None] = {}
    for name in NAMES:
        a, b = (group.column(name)[_known(group.column(name))] for group in (left, right))
        enough = min(len(a), len(b)) >= _LEAST_LESIONS
        share = mannwhitneyu(b, a).statistic / (len(a) * len(b)) if enough else None
        found[name] = None if share is None else float(share)
    return found


def resample(cluster: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows of one bootstrap draw: as many clusters of each case as there are, with repeats."""
    members = {int(c): np.flatnonzero(cluster == c) for c in np.unique(cluster)}
    rows: list[NDArray[np.intp]] = []
    for case in sorted({c // CASE_OF_CLUSTER for c in members}):
        own = [c for c in members if c // CASE_OF_CLUSTER == case]
        rows += [members[own[k]] for k in rng.integers(0, len(own), len(own))]
    return np.concatenate(rows) if rows else np.empty(0, dtype=np.intp)


def dividing_hu(group: Described) -> float:
    """The HU that best tells a lesion's pixels from those of its ring (Youden's index)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        inside, ring = np.nanmean(group.inside, axis=0), np.nanmean(group.ring, axis=0)
    gap = np.cumsum(ring) - np.cumsum(inside)
    return float(BINS_HU[1:][int(gap.argmax())])


def _samples(group: Described, name: str) -> NDArray[np.float64]:
    if name in ("inside", "ring"):
        return group.inside if name == "inside" else group.ring
    return group.column(name)


def _known(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.isfinite(values if values.ndim == 1 else values[:, 0])


def _distance(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    left, right = left[_known(left)], right[_known(right)]
    if not len(left) or not len(right):
        return float("nan")
    if left.ndim == 2:
        return float(
            wasserstein_distance(_MIDDLES, _MIDDLES, left.mean(axis=0), right.mean(axis=0))
        )
    return float(wasserstein_distance(left, right))
