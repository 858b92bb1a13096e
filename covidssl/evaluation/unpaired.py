"""Differences between sets of different patients: each is resampled by itself."""

from __future__ import annotations

import numpy as np

from covidssl.evaluation.judged import Evaluation
from covidssl.evaluation.scoring import Bootstrap
from covidssl.metrics import Estimate, Metric
from covidssl.metrics.labelled import group_index
from covidssl.metrics.measures import Measures, case
from covidssl.metrics.resampling import Resampled, interval, resample
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


def _resampled(of: Evaluation, metric: Metric, bootstrap: Bootstrap, side: int) -> Resampled | None:
    labels = of.target == 1
    if not labels.any() or labels.all() or len(set(of.group)) < 2:
        return None
    index, _ = group_index(of.group, len(labels))
    measure = Measures(case(labels, of.probability, of.threshold), (metric,))
    # Each side has draws of its own: the sets have no patient in common.
    generator = numpy_generator(bootstrap.seed, _STREAM, side)
    return resample(measure, labels, index, generator, bootstrap.rounds)
