"""Paired tests that count: predictions swapped at random, and entries that one model gets right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, chi2, rankdata

from covidssl.errors import DataError
from covidssl.metrics.labelled import Floats, checked_pair, checked_threshold, group_index
from covidssl.metrics.measures import Case, Measures, Metric, case
from covidssl.metrics.resampling import HALF_WIDTH, Estimate
from covidssl.metrics.scores import FEW_GROUPS
from covidssl.metrics.tested import Tested

PERMUTATIONS = 9999
McNemar = Literal["exact", "corrected"]
Differ = Callable[[NDArray[np.integer]], Floats]
_ALL_SWAPS = 13
"""Up to so many groups all swaps are gone through: 8192."""
_BLOCK = 200_000
_AT_ONCE = 500
# Two statistics that differ by rounding alone are equal.
_EQUAL = 1e-12


def permutation_test(
    target: NDArray[np.integer],
    probabilities: tuple[NDArray[np.floating], NDArray[np.floating]],
    group: Sequence[str] | None,
    generator: np.random.Generator,
    metric: Metric = "auroc",
    thresholds: tuple[float, float] = (0.5, 0.5),
) -> Tested:
    """Whether one score of two classifiers differs by more than swapping them at random would give.

    If both were equally good, it would not matter which of the two had given which answer: the
    answers of a and b are swapped for whole groups at once, and the difference is counted again.
    For AUROC and AUPRC the ranks of the probabilities are swapped, not the probabilities, so that
    two classifiers with different scales can be compared (E. S. Venkatraman and C. B. Begg,
    Biometrika 1996).

    Args:
        target: (N,) labels, 1 = positive, 0 = negative.
        probabilities: two arrays (N,), of a and of b, for the same entries in the same order.
        group: (N,) the group of each entry; None: every entry stands for itself.
        generator: draws the swaps.
        metric: what is compared; neither `ppv` nor `npv`, which may be undefined after a swap.
        thresholds: the operating points of a and of b; AUROC, AUPRC and Brier need none.

    Returns:
        The metric of a minus that of b, without an interval; the statistic is that difference. p is
        the share of swaps with a difference as large, of `PERMUTATIONS` and the one found, or of
        all swaps where there are 13 groups or fewer.

    Raises:
        DataError: as `evaluate`, and for a metric that cannot be tested so.
    """
    if metric in ("ppv", "npv"):
        raise DataError(f"{metric} may be undefined after a swap: test another score.")
    labels, *scores = checked_pair(target, probabilities)
    index, groups = group_index(group, len(labels))
    ranked = metric in ("auroc", "auprc")
    cases = [
        case(labels, one, threshold)._replace(**({"scores": rankdata(one)} if ranked else {}))
        for one, threshold in zip(scores, thresholds, strict=True)
    ]
    differ = _swapped(cases, metric, index)
    found = float(differ(np.zeros((1, groups), dtype=np.int8))[0])
    p, cautions = _share(differ, found, groups, generator)
    difference = Estimate(found, np.nan, np.nan)
    return Tested("permutation", metric, difference, found, p, groups, cautions)


def _swapped(cases: Sequence[Case], metric: Metric, index: NDArray[np.intp]) -> Differ:
    """Swaps (R, G) of groups -> differences (R,) of the metric."""
    # Both classifiers' answers as one list, from which every swap takes one of each pair.
    both = Case(*(np.concatenate(columns) for columns in zip(*cases, strict=True)))
    measures = Measures(both, (metric,))

    size = max(1, _BLOCK // len(both.labels))

    def differ(swaps: NDArray[np.integer]) -> Floats:
        parts = []
        for start in range(0, len(swaps), size):
            swap = swaps[start : start + size].astype(np.float64)[:, index]
            first = measures(np.concatenate((1 - swap, swap), axis=1))
            second = measures(np.concatenate((swap, 1 - swap), axis=1))
            parts.append((first - second)[:, 0])
        return np.concatenate(parts)

    return differ


def _share(
    differ: Differ, found: float, groups: int, generator: np.random.Generator
) -> tuple[float, tuple[str, ...]]:
    """p, and why it should not be taken at face value."""
    least = abs(found) - _EQUAL
    if groups <= _ALL_SWAPS:
        every = np.arange(2**groups)[:, None] >> np.arange(groups) & 1
        p = float(np.mean(np.abs(differ(every)) >= least))
    else:
        as_large = 1
        for start in range(0, PERMUTATIONS, _AT_ONCE):
            shape = (min(_AT_ONCE, PERMUTATIONS - start), groups)
            swaps = generator.integers(0, 2, shape, dtype=np.int8)
            as_large += int(np.count_nonzero(np.abs(differ(swaps)) >= least))
        p = as_large / (PERMUTATIONS + 1)
    if groups >= FEW_GROUPS:
        return p, ()
    return p, (f"Only {groups} groups can be swapped: p cannot be below {2 / 2**groups:.2g}.",)


def mcnemar_test(
    target: NDArray[np.integer],
    probabilities: tuple[NDArray[np.floating], NDArray[np.floating]],
    group: Sequence[str] | None = None,
    thresholds: tuple[float, float] = (0.5, 0.5),
    kind: McNemar = "exact",
) -> Tested:
    """Whether two classifiers are right equally often, by the entries that only one gets right.

    Args:
        target: (N,) labels, 1 = positive, 0 = negative.
        probabilities: two arrays (N,), of a and of b, for the same entries in the same order.
        group: (N,) the group of each entry. The test takes entries for independent; where groups
            hold several it says so, and the permutation test of the accuracy is the one to use.
        thresholds: the operating points of a and of b.
        kind: `exact`: the binomial test of the discordant entries; the statistic is the number that
            a alone gets right. `corrected`: chi-square with Edwards' continuity correction.

    Returns:
        Accuracy of a minus that of b, with Wald's interval for paired shares; p = 1 where no entry
        is discordant.

    Raises:
        DataError: as `evaluate`.
    """
    labels, first, second = checked_pair(target, probabilities)
    _, groups = group_index(group, len(labels))
    right = [
        (one >= checked_threshold(at)) == labels
        for one, at in zip((first, second), thresholds, strict=True)
    ]
    only_first = int(np.count_nonzero(right[0] & ~right[1]))
    only_second = int(np.count_nonzero(~right[0] & right[1]))
    discordant, n = only_first + only_second, len(labels)
    if kind == "exact":
        statistic = float(only_first)
        p = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
    else:
        excess = max(0, abs(only_first - only_second) - 1)
        statistic = excess**2 / discordant if discordant else 0.0
        p = float(chi2.sf(statistic, 1))
    difference = (only_first - only_second) / n
    half = HALF_WIDTH * np.sqrt(max(0.0, discordant / n - difference**2) / n)
    interval = Estimate(difference, float(difference - half), float(difference + half))
    cautions = () if groups == n else (_DEPENDENT.format(n=n, groups=groups),)
    return Tested(f"McNemar, {kind}", "accuracy", interval, statistic, p, n, cautions)


_DEPENDENT = (
    "McNemar's test takes the {n} entries for independent, and they come in {groups} groups: p is "
    "likely too small. Use the permutation test of the accuracy."
)
