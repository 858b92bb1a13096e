"""Differences between scores of different scans: of two sets, and of two parts of one set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covidssl.evaluation.judged import Evaluation
from covidssl.evaluation.scoring import Bootstrap
from covidssl.metrics import Estimate, Metric
from covidssl.metrics.labelled import group_index
from covidssl.metrics.measures import Measures, case
from covidssl.metrics.resampling import Resampled, draws, interval, resample
from covidssl.randomness import numpy_generator

_STREAM = 171


def unpaired_difference(
    first: Evaluation, second: Evaluation, metric: Metric, bootstrap: Bootstrap
) -> Estimate | None:
    """A score on one set minus that on another, with a 95 % interval.

    Args:
        first, second: scans that share none.
        metric: which score; both models' own operating points count.
        bootstrap: how many rounds.

    Returns:
        None where a set lacks a class or holds one group alone, or the score is not defined.
    """
    sides = [_resampled(one, metric, bootstrap, side) for side, one in enumerate((first, second))]
    if sides[0] is None or sides[1] is None:
        return None
    left, right = sides[0], sides[1]
    rounds = min(len(left.drawn), len(right.drawn))
    value = float(left.value[0] - right.value[0])
    found = interval(value, left.drawn[:rounds, 0] - right.drawn[:rounds, 0])
    return None if np.isnan(found.value) else found


def difference_of_parts(
    judged: Evaluation, inside: NDArray[np.bool_], metric: Metric, bootstrap: Bootstrap
) -> Estimate | None:
    """A score on a part of a set minus that on the rest of it, with a 95 % interval.

    A patient may have scans in both parts, so groups are drawn once, over the whole set, and both
    scores are taken of the same draw.

    Args:
        judged: the set.
        inside: (S,) which scans are of the part.
        metric: which score, at the model's operating point.
        bootstrap: how many rounds.

    Returns:
        None where a part lacks a class or holds one group alone, or the score is not defined.
    """
    labels = judged.target == 1
    sides = (inside, ~inside)
    group = np.asarray(judged.group)
    for side in sides:
        held = labels[side]
        if not held.any() or held.all() or len(np.unique(group[side])) < 2:
            return None
    index, _ = group_index(judged.group, len(labels))
    measures = [
        Measures(case(labels[side], judged.probability[side], judged.threshold), (metric,))
        for side in sides
    ]
    classes = [(side & (labels == positive)).astype(np.float64)
               for side in sides for positive in (True, False)]  # fmt: skip

    def difference(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        first, second = (
            of(weights[:, side])[:, 0] for of, side in zip(measures, sides, strict=True)
        )
        return np.asarray(first - second)

    value = float(difference(np.ones((1, len(labels))))[0])
    drawn = []
    generator = numpy_generator(bootstrap.seed, _STREAM)
    for weights in draws(index, generator, bootstrap.rounds):
        # A draw counts where both parts hold both classes.
        whole = np.logical_and.reduce([weights @ one > 0 for one in classes])
        drawn.append(difference(weights[whole]))
    found = interval(value, np.concatenate(drawn))
    return None if np.isnan(found.value) else found


def _resampled(of: Evaluation, metric: Metric, bootstrap: Bootstrap, side: int) -> Resampled | None:
    labels = of.target == 1
    if not labels.any() or labels.all() or len(set(of.group)) < 2:
        return None
    index, _ = group_index(of.group, len(labels))
    measure = Measures(case(labels, of.probability, of.threshold), (metric,))
    # Each side has draws of its own: the sets have no patient in common.
    generator = numpy_generator(bootstrap.seed, _STREAM, side)
    return resample(measure, labels, index, generator, bootstrap.rounds)
