"""Differences and means of one score over several classifiers, on the same resamples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.metrics.labelled import Floats, checked, group_index
from covidssl.metrics.measures import Measures, Metric, case
from covidssl.metrics.resampling import ROUNDS, Estimate, resample


class Part(NamedTuple):
    """One classifier's share in a combination: probability (N,), operating point, weight."""

    probability: NDArray[np.floating]
    threshold: float
    weight: float


def paired_difference(
    target: NDArray[np.integer],
    probabilities: tuple[NDArray[np.floating], NDArray[np.floating]],
    group: Sequence[str] | None,
    generator: np.random.Generator,
    metric: Metric = "auroc",
    thresholds: tuple[float, float] = (0.5, 0.5),
) -> Estimate:
    """How much better the first of two classifiers is than the second, on the same resamples.

    Args:
        target: (N,) labels, 1 = positive, 0 = negative.
        probabilities: two arrays (N,), of a and of b, for the same entries in the same order.
        group: (N,) the group of each entry; None: every entry stands for itself.
        generator: draws the groups.
        metric: what is compared.
        thresholds: the operating points of a and of b; AUROC, AUPRC and Brier need none.

    Returns:
        The metric of a minus that of b; an interval without 0 shows a difference.

    Raises:
        DataError: as `evaluate`.
    """
    parts = [
        Part(probability, threshold, weight)
        for probability, threshold, weight in zip(probabilities, thresholds, (1, -1), strict=True)
    ]
    return combined(target, parts, group, generator, metric)


def combined(
    target: NDArray[np.integer],
    parts: Sequence[Part],
    group: Sequence[str] | None,
    generator: np.random.Generator,
    metric: Metric = "auroc",
    rounds: int = ROUNDS,
) -> Estimate:
    """A weighted sum of one metric of several classifiers, all on the same resamples.

    Weights 1/D give the mean over D repetitions of a training; 1 and -1 give a difference. The
    interval holds for these trainings: it tells what other patients might have given, not what
    other trainings might.

    Args:
        target: (N,) labels, 1 = positive, 0 = negative.
        parts: the classifiers, for the same entries in the same order.
        group: (N,) the group of each entry; None: every entry stands for itself.
        generator: draws the groups.
        metric: what is summed.
        rounds: of the bootstrap.

    Raises:
        DataError: as `evaluate`, and when there is no part.
    """
    if not parts:
        raise DataError("No classifier is given: a combination needs one at least.")
    cases = [case(*checked(target, part.probability), part.threshold) for part in parts]
    labels = cases[0].labels
    measures = [Measures(one, (metric,)) for one in cases]
    index, _ = group_index(group, len(labels))

    def measure(weights: Floats) -> Floats:
        total = np.zeros((len(weights), 1))
        for part, one in zip(parts, measures, strict=True):
            total += part.weight * one(weights)
        return total

    return resample(measure, labels, index, generator, rounds).estimates()[0]
