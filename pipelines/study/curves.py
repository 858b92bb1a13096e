"""AUROC as a curve over an amount (of labels, slices, steps), all of it on the same resamples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.metrics import Estimate
from covidssl.metrics.resampling import interval
from pipelines.study.grouped import Scored, drawn
from pipelines.study.records import Found, Images

Floats = NDArray[np.float64]


class Curve(NamedTuple):
    """The AUROC of one arm at rising amounts.

    Attributes:
        amount: (P,) labels, slices or steps.
        value: (P,) pooled AUROC, the mean over draws and seeds.
        drawn: (R, P) the same of every resample of whole groups, the same resamples for every
            curve of a set: what is made of several curves is paired. NaN where a class was missing.
    """

    amount: Floats
    value: Floats
    drawn: Floats

    @property
    def estimates(self) -> list[Estimate]:
        """The value of each amount with its 95 % interval."""
        return [interval(float(v), d) for v, d in zip(self.value, self.drawn.T, strict=True)]


def curve_of(images: Images, founds: Mapping[float, Sequence[Found]]) -> Curve:
    """The curve of an arm: at each amount the mean AUROC of the models that were made with it.

    Args:
        images: label and group of each image.
        founds: by amount, what the models made with it say of every image.

    Raises:
        DataError: when there is no amount, or an image was not scored.
    """
    if not founds:
        raise DataError("No model is given for a curve: expected one amount at least.")
    amounts = sorted(founds)
    areas = np.stack(
        [
            np.mean(
                [
                    drawn(Scored(images.target, images.group, found.chance), "auroc")
                    for found in founds[amount]
                ],
                axis=0,
            )
            for amount in amounts
        ],
        axis=1,
    )
    return Curve(np.array(amounts, np.float64), areas[0], areas[1:])


class Needed(NamedTuple):
    """How much one arm needs to reach what another has.

    Attributes:
        value: amount, by interpolation over its logarithm; infinite where it is not reached within
            what is here, and the least amount here where that is more than enough.
        low, high: its 95 % interval on the same resamples, likewise.
    """

    value: float
    low: float
    high: float


def needed(arm: Curve, goal: Curve, at: int) -> Needed:
    """How much `arm` needs for the AUROC that `goal` has at one of its points.

    An arm counts as good as it was with any smaller amount: a dip takes nothing back.
    """
    value = _first_reached(arm.amount, arm.value, goal.value[at])
    each = [
        _first_reached(arm.amount, own, level)
        for own, level in zip(arm.drawn, goal.drawn[:, at], strict=True)
        if np.isfinite(level)
    ]
    # Infinite draws have a rank, and nothing can be interpolated between them.
    low, high = np.quantile(each, (0.025, 0.975), method="nearest")
    return Needed(value, float(low), float(high))


def _first_reached(amount: Floats, value: Floats, level: float) -> float:
    best = np.maximum.accumulate(value)
    if best[-1] < level:
        return float("inf")
    place = int(np.argmax(best >= level))
    if place == 0:
        return float(amount[0])
    share = (level - best[place - 1]) / (best[place] - best[place - 1])
    ends = np.log(amount[place - 1 : place + 1])
    return float(np.exp(ends[0] + share * (ends[1] - ends[0])))
