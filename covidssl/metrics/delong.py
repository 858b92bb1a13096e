"""DeLong's interval of an AUROC and the paired test of two, for entries that come in groups.

The area is a mean over pairs of a positive and a negative entry; its variance follows from how
much every entry adds to it (E. R. DeLong et al., Biometrics 1988), which midranks give in
O(N log N) (X. Sun and W. Xu, IEEE Signal Processing Letters 2014). Where several entries are of one
patient, what they add is summed a patient (N. A. Obuchowski, Biometrics 1997); with every entry
its own group that is DeLong's variance exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from covidssl.errors import DataError
from covidssl.metrics.labelled import Bools, Floats, checked, checked_pair, group_index
from covidssl.metrics.resampling import HALF_WIDTH, Estimate
from covidssl.metrics.scores import group_cautions
from covidssl.metrics.tested import Tested

# Below this share of the area's own unit a variance is rounding.
_NOTHING = 1e-14
_PARTED = (
    "The standard error is 0, since the classes are parted without an error: the formula cannot "
    "show errors that did not happen in this set."
)
_FLAT = (
    "The standard error is 0, since every scan adds the same to the area, as where all "
    "probabilities are equal: the interval without width says nothing."
)


class DelongArea(NamedTuple):
    """An AUROC by DeLong's formula.

    Attributes:
        estimate: the area with its 95 % interval, normal, cut at 0 and 1.
        error: standard error.
        cautions: why it should not be taken at face value, in plain words.
    """

    estimate: Estimate
    error: float
    cautions: tuple[str, ...] = ()


def delong_interval(
    target: NDArray[np.integer],
    probability: NDArray[np.floating],
    group: Sequence[str] | None = None,
) -> DelongArea:
    """The AUROC with DeLong's interval, or Obuchowski's where entries share groups.

    Args:
        target: (N,) labels, 1 = positive, 0 = negative.
        probability: (N,) probability of the positive class, in [0, 1].
        group: (N,) the group of each entry; None: every entry stands for itself.

    Raises:
        DataError: when lengths differ, a value is not finite or out of range, a class has fewer
            than two groups, or all entries share one.
    """
    labels, scores = checked(target, probability)
    index, _ = _grouped(group, labels)
    area, error = _area(labels, _components(labels, scores), index)
    low, high = np.clip((area - HALF_WIDTH * error, area + HALF_WIDTH * error), 0, 1)
    flat = [] if error else [_PARTED if area in (0.0, 1.0) else _FLAT]
    cautions = group_cautions(labels, index) + flat
    return DelongArea(Estimate(area, float(low), float(high)), error, tuple(cautions))


def paired_delong(
    target: NDArray[np.integer],
    probabilities: tuple[NDArray[np.floating], NDArray[np.floating]],
    group: Sequence[str] | None = None,
) -> Tested:
    """Whether the AUROCs of two classifiers on the same entries differ.

    Args:
        target: (N,) labels, 1 = positive, 0 = negative.
        probabilities: two arrays (N,), of a and of b, for the same entries in the same order.
        group: (N,) the group of each entry; None: every entry stands for itself.

    Returns:
        Area of a minus that of b; the statistic is z, p is two-sided. Two classifiers that order
        all pairs alike have p = 1.

    Raises:
        DataError: as `delong_interval`.
    """
    labels, first, second = checked_pair(target, probabilities)
    index, groups = _grouped(group, labels)
    shares = _components(labels, first) - _components(labels, second)
    difference, error = _area(labels, shares, index)
    cautions = group_cautions(labels, index)
    z = difference / error if error else 0.0
    p = float(2 * norm.sf(abs(z)))
    if error == 0 and abs(difference) > _NOTHING:
        raise DataError(
            "The two areas differ and the variance of their difference is 0, so that DeLong's test "
            "says nothing. Use the permutation test."
        )
    name = "paired DeLong" if groups == len(labels) else "paired DeLong, by groups (Obuchowski)"
    half = HALF_WIDTH * error
    interval = Estimate(difference, difference - half, difference + half)
    return Tested(name, "auroc", interval, z, p, groups, tuple(cautions))


def _grouped(group: Sequence[str] | None, labels: Bools) -> tuple[NDArray[np.intp], int]:
    index, groups = group_index(group, len(labels))
    for name, members in (("positive", index[labels]), ("negative", index[~labels])):
        if len(np.unique(members)) < 2:
            raise DataError(
                f"One group holds all of the {name} class; a variance needs two at least. More "
                f"patients of that class are needed."
            )
    return index, groups


def _components(labels: Bools, scores: Floats) -> Floats:
    """(N,): of a positive entry the share of negatives below it, of a negative that above it."""
    ranks = rankdata(scores)
    m, n = int(labels.sum()), int((~labels).sum())
    shares = np.empty(len(scores))
    shares[labels] = (ranks[labels] - rankdata(scores[labels])) / n
    shares[~labels] = 1 - (ranks[~labels] - rankdata(scores[~labels])) / m
    return shares


def _area(labels: Bools, shares: Floats, index: NDArray[np.intp]) -> tuple[float, float]:
    """The mean of `_components` (or of a difference of two), and its standard error."""
    area = float(shares[labels].mean())
    groups = int(index.max()) + 1
    sums, held = [], []
    for members in (labels, ~labels):
        centred = (shares[members] - area) / members.sum()
        sums.append(np.bincount(index[members], weights=centred, minlength=groups))
        held.append(len(np.unique(index[members])))
    variance = sum(
        count / (count - 1) * float(one @ one) for one, count in zip(sums, held, strict=True)
    )
    variance += 2 * groups / (groups - 1) * float(sums[0] @ sums[1])
    return area, float(np.sqrt(variance)) if variance > _NOTHING**2 else 0.0
