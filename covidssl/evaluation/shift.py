"""Another site, another prevalence: what of a score carries over to an external set.

Site shift: every score on the external set minus that on the internal one; both are resampled by
themselves. Label shift: the prevalence of a set estimated without its labels, from how often the
model says positive (black box shift estimation, Z. C. Lipton et al., ICML 2018) and from its
probabilities (the maximum likelihood that the EM of M. Saerens et al., Neural Computation 2002,
climbs to). Both hold where the patients of
each class are alike in both places; where they are far from the prevalence that the labels give,
more than the prevalence has shifted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from covidssl.evaluation.judged import Evaluation
from covidssl.evaluation.scoring import Bootstrap, SetScores
from covidssl.evaluation.unpaired import unpaired_difference
from covidssl.metrics import Estimate, Metric
from covidssl.metrics.labelled import group_index
from covidssl.metrics.resampling import draws, interval
from covidssl.randomness import numpy_generator
from covidssl.splits import Assigned

COMPARED: tuple[Metric, ...] = ("auroc", "accuracy", "sensitivity", "specificity", "brier")
_STREAM = 172
_EDGE = 1e-9
_FAR = 1.92  # in log likelihood below its maximum: outside of a 95 % interval
_LEAST_YOUDEN = 0.05  # below it the share called positive says next to nothing

Floats = NDArray[np.float64]


class Shift(NamedTuple):
    """An external set against the internal one.

    Attributes:
        differences: each score there minus here, by name; those left out that are not defined.
        in_the_large: mean probability minus share of positives, there; 0 is right.
        prevalence: share of positives there, by the labels.
        by_answers: prevalence there estimated from how often the model says positive; None where
            it tells the classes too badly.
        by_probabilities: the same from its probabilities, with the prevalence that they were
            calibrated on; None where that is not known, or they leave every prevalence possible.
        text: what it comes to, in words.
        warning: whether the score is lower there.
    """

    differences: dict[str, Estimate]
    in_the_large: Estimate
    prevalence: Estimate
    by_answers: Estimate | None
    by_probabilities: float | None
    text: str
    warning: bool

    def as_json(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            **self._asdict(),
            "differences": {name: one._asdict() for name, one in self.differences.items()},
            "in_the_large": self.in_the_large._asdict(),
            "prevalence": self.prevalence._asdict(),
            "by_answers": self.by_answers._asdict() if self.by_answers else None,
        }


def site_shift(
    here: Evaluation,
    there: Evaluation,
    scores_here: SetScores,
    calibrated_on: float | None,
    bootstrap: Bootstrap,
) -> Shift:
    """What changes from the internal set to an external one.

    Args:
        here: the internal test.
        there: the external set.
        scores_here: of the internal test.
        calibrated_on: share of positives of the scans that the probabilities were calibrated on;
            None where it is not known or nothing was calibrated.
        bootstrap: how intervals are drawn.
    """
    differences: dict[str, Estimate] = {
        name: found
        for name in COMPARED
        if (found := unpaired_difference(there, here, name, bootstrap)) is not None
    }
    prevalence, in_the_large, answers = _by_resampling(there, scores_here, bootstrap)
    by_probabilities = None
    if calibrated_on is not None:
        by_probabilities = likeliest_prevalence(there.probability, calibrated_on)
    text, warning = _in_words(there.name, differences.get("auroc"), in_the_large)
    return Shift(differences, in_the_large, prevalence, answers, by_probabilities, text, warning)


def calibration_prevalence(assigned: Sequence[Assigned]) -> float | None:
    """Share of positives of the validation scans; None where there are none of both classes."""
    labels = [one.scan.positive for one in assigned if one.split == "validation"]
    return float(np.mean(labels)) if 0 < sum(labels) < len(labels) else None


def likeliest_prevalence(probability: Floats, prior: float) -> float | None:
    """The prevalence of a set under which its probabilities are likeliest (Saerens et al. 2002).

    EM comes to it slowly where the model is weak; the likelihood is concave, so that the zero of
    its slope is found at once.

    Args:
        probability: (N,) calibrated, of the positive class.
        prior: share of positives that they were calibrated on, above 0 and below 1.

    Returns:
        None where the likelihood is so flat that no prevalence from 0 to 1 is told from it.
    """
    positive, negative = probability / prior, (1 - probability) / (1 - prior)

    def slope(share: float) -> float:
        mixture = share * positive + (1 - share) * negative
        return float(((positive - negative) / mixture).sum())

    def height(share: float) -> float:
        return float(np.log(share * positive + (1 - share) * negative).sum())

    low, high = _EDGE, 1 - _EDGE
    if slope(low) <= 0:
        share = low
    elif slope(high) >= 0:
        share = high
    else:
        share = float(brentq(slope, low, high))
    if height(share) - min(height(low), height(high)) < _FAR:
        return None
    return round(share, 8)


def _by_resampling(
    there: Evaluation, scores_here: SetScores, bootstrap: Bootstrap
) -> tuple[Estimate, Estimate, Estimate | None]:
    """Prevalence by the labels, calibration in the large, prevalence by answers."""
    index, _ = group_index(there.group, len(there.target))
    called = there.probability >= there.threshold
    columns = np.column_stack((there.target, there.probability, called)).astype(np.float64)
    generator = numpy_generator(bootstrap.seed, _STREAM)
    whole = columns.mean(axis=0)
    parts = [
        weights @ columns / weights.sum(axis=1, keepdims=True)
        for weights in draws(index, generator, bootstrap.rounds)
    ]
    drawn = np.concatenate(parts)
    prevalence = interval(float(whole[0]), drawn[:, 0])
    large = interval(float(whole[1] - whole[0]), drawn[:, 1] - drawn[:, 0])
    rows = scores_here.model.at_point.rows
    rounds = min(len(rows) - 1, len(drawn))
    shares = np.concatenate((whole[2:], drawn[:rounds, 2]))
    found = _by_answers(shares, rows[: rounds + 1])
    if np.isnan(found[0]):
        return prevalence, large, None
    return prevalence, large, interval(float(found[0]), found[1:])


def _by_answers(shares: Floats, rows: Floats) -> Floats:
    """Prevalence (R,) from shares called positive (R,), sensitivity and specificity (R, 2+)."""
    sensitivity, specificity = rows[:, 0], rows[:, 1]
    youden = sensitivity + specificity - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (shares - (1 - specificity)) / youden
    return np.where(youden > _LEAST_YOUDEN, np.clip(found, 0.0, 1.0), np.nan)


def _in_words(name: str, auroc: Estimate | None, large: Estimate) -> tuple[str, bool]:
    if auroc is None:
        told, warning = "the difference of the AUROC cannot be had", False
    else:
        lower, higher = auroc.high < 0, auroc.low > 0
        what = "lower" if lower else "higher" if higher else "not told from that"
        warning = lower
        told = (
            f"the AUROC there is {what}{'' if lower or higher else ' here'}: "
            f"{auroc.value:+.3f} ({auroc.low:+.3f} to {auroc.high:+.3f})"
        )
    if large.low > 0 or large.high < 0:
        way = "too high" if large.value > 0 else "too low"
        told += (
            f"; probabilities are {way} there by {abs(large.value):.3f} in the mean, so that the "
            f"operating point does not mean there what it means here"
        )
    return f"{name}: {told}.", warning
