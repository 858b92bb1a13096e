"""Decision curve: what acting on a classifier is worth, at every balance of harms.

Net benefit as A. J. Vickers and E. B. Elkin, Medical Decision Making 2006: true positives less
false positives, the latter weighted by the odds of the threshold probability pt, per entry. A pt of
0.1 says that one missed positive weighs as much as nine false alarms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.metrics.labelled import Floats, checked, checked_prevalence, group_index
from covidssl.metrics.resampling import ROUNDS, Estimate, resample
from covidssl.metrics.scores import group_cautions

THRESHOLDS = np.arange(1, 100) / 100


class Asked(NamedTuple):
    """What a decision curve is asked for.

    Attributes:
        thresholds: threshold probabilities, each above 0 and below 1; None: 0.01 to 0.99.
        prevalence: share of positives that it shall hold for; None: that of the set.
        rounds: how often the set is resampled.
    """

    thresholds: Sequence[float] | NDArray[np.floating] | None = None
    prevalence: float | None = None
    rounds: int = ROUNDS


_USUAL = Asked()


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit at threshold probabilities.

    Attributes:
        thresholds: (T,).
        model: (T, 3) net benefit of acting on those whose probability is at or above the threshold:
            value, and low and high end of its 95 % interval.
        treat_all: (T, 3) of acting on all; acting on none has 0.
        gain: (T, 3) of the model above the better of the two.
        prevalence: that it holds for.
        cautions: why it should not be taken at face value, in plain words.
    """

    thresholds: Floats
    model: Floats
    treat_all: Floats
    gain: Floats
    prevalence: float
    cautions: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All of it for a JSON file."""
        return {
            "prevalence": self.prevalence,
            "thresholds": self.thresholds.tolist(),
            **{
                name: [Estimate(*row)._asdict() for row in getattr(self, name).tolist()]
                for name in ("model", "treat_all", "gain")
            },
            "cautions": list(self.cautions),
        }


def decision_curve(
    target: NDArray[np.integer],
    probability: NDArray[np.floating],
    group: Sequence[str] | None,
    generator: np.random.Generator,
    asked: Asked = _USUAL,
) -> DecisionCurve:
    """Net benefit of a classifier, with pointwise intervals from resampled groups.

    Args:
        target: (N,) labels, 1 = positive, 0 = negative.
        probability: (N,) calibrated probability of the positive class, in [0, 1].
        group: (N,) the group of each entry; None: every entry stands for itself.
        generator: draws the groups.
        asked: thresholds, prevalence, rounds.

    Raises:
        DataError: as `evaluate`, and for a threshold or a prevalence that is not between 0 and 1.
    """
    labels, scores = checked(target, probability)
    index, _ = group_index(group, len(labels))
    at = THRESHOLDS if asked.thresholds is None else np.asarray(asked.thresholds, dtype=np.float64)
    if at.ndim != 1 or not len(at) or not ((at > 0) & (at < 1)).all():
        raise DataError("Thresholds of a decision curve: expected numbers above 0 and below 1.")
    if asked.prevalence is not None:
        checked_prevalence(asked.prevalence)
    called = scores[:, None] >= at
    cells = np.column_stack((called & labels[:, None], called & ~labels[:, None], labels))
    table = cells.astype(np.float64)

    def measure(weights: Floats) -> Floats:
        return _benefits(weights @ table, weights.sum(axis=1), at, asked.prevalence)

    found = resample(measure, labels, index, generator, asked.rounds)
    model, treat_all, gain = np.split(np.array(found.estimates()), 3)
    prevalence = float(labels.mean()) if asked.prevalence is None else asked.prevalence
    cautions = tuple(group_cautions(labels, index))
    return DecisionCurve(at, model, treat_all, gain, prevalence, cautions)


def _benefits(sums: Floats, total: Floats, at: Floats, prevalence: float | None) -> Floats:
    """(R, 3 T) of model, treat-all and the model's gain, from sums (R, 2 T + 1)."""
    positives = sums[:, -1:]
    negatives = total[:, None] - positives
    share = positives / total[:, None] if prevalence is None else prevalence
    hit, alarm = np.split(sums[:, :-1], 2, axis=1)
    odds = at / (1 - at)
    model = share * hit / positives - (1 - share) * alarm / negatives * odds
    treat_all = share - (1 - share) * odds
    treat_all = np.broadcast_to(treat_all, model.shape)
    return np.concatenate((model, treat_all, model - np.maximum(treat_all, 0)), axis=1)
