"""Whether a probability means what it says: reliability, calibration error, slope, intercept.

Definitions as B. Van Calster et al., BMC Medicine 2019: the slope is that of a logistic regression
of the label on the log odds of the probability (1 is right, below 1 the probabilities are too
extreme); the intercept is that of the same regression with the slope held at 1, calibration in the
large (0 is right, below 0 the probabilities are too high).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from covidssl.metrics.binned import TEN_BINS, Bin, Bins, CalibrationError, calibration_error
from covidssl.metrics.labelled import Bools, Floats, checked, group_index
from covidssl.metrics.resampling import ROUNDS, Estimate, resample
from covidssl.metrics.scores import group_cautions

NAMES = ("slope", "intercept", "brier")
CLIPPED = 1e-6
"""Probabilities nearer to 0 or 1 are taken for this far away: their log odds have no end."""
_STEPS = 60
_DONE = 1e-7
_MANY_UNDEFINED = 0.05


@dataclass(frozen=True)
class Reliability:
    """Calibration of one classifier on one labelled set.

    Attributes:
        ece: expected calibration error, beside what it would be if all probabilities were right.
        slope: of the log odds; NaN where a probability parts the classes, or all are equal.
        intercept: with the slope held at 1.
        brier: mean squared difference of probability and label.
        bins: how the error was binned, in words.
        curve: the bins that hold entries, by their probability.
        cautions: why a number should not be taken at face value, in plain words.
    """

    ece: CalibrationError
    slope: Estimate
    intercept: Estimate
    brier: Estimate
    bins: str
    curve: tuple[Bin, ...]
    cautions: tuple[str, ...] = ()

    def estimates(self) -> dict[str, Estimate | CalibrationError]:
        """The numbers by name, those left out that are undefined in this set."""
        return {"ece": self.ece, **self.intervals()}

    def intervals(self) -> dict[str, Estimate]:
        """Those that have an interval."""
        found: dict[str, Estimate] = {name: getattr(self, name) for name in NAMES}
        return {name: one for name, one in found.items() if not np.isnan(one.value)}


def reliability(
    target: NDArray[np.integer],
    probability: NDArray[np.floating],
    group: Sequence[str] | None,
    generator: np.random.Generator,
    bins: Bins = TEN_BINS,
    rounds: int = ROUNDS,
) -> Reliability:
    """Calibration of one classifier, with intervals from resampled groups.

    Args:
        target: (N,) labels, 1 = positive, 0 = negative.
        probability: (N,) probability of the positive class, in [0, 1].
        group: (N,) the group of each entry; None: every entry stands for itself.
        generator: draws the groups, then the labels that the calibration error is held against.
        bins: of the expected calibration error.
        rounds: how often the set is resampled, and how often its labels are drawn.

    Raises:
        DataError: as `evaluate`.
    """
    labels, scores = checked(target, probability)
    index, _ = group_index(group, len(labels))
    odds = logit(np.clip(scores, CLIPPED, 1 - CLIPPED))
    start = _slopes(np.ones((1, len(labels))), labels, odds, np.array([0.0, 1.0]))[0]
    begin = start if np.isfinite(start).all() else np.array([0.0, 1.0])
    errors = (scores - labels) ** 2

    def measure(weights: Floats) -> Floats:
        return np.column_stack(
            (
                _slopes(weights, labels, odds, begin)[:, 1],
                _intercepts(weights, labels, odds),
                weights @ errors / weights.sum(axis=1),
            )
        )

    found = resample(measure, labels, index, generator, rounds)
    undefined = float(np.isnan(found.drawn[:, 0]).mean())
    clipped = int(np.count_nonzero((scores < CLIPPED) | (scores > 1 - CLIPPED)))
    cautions = [*group_cautions(labels, index), *_cautions(start, undefined, clipped)]
    estimates = dict(zip(NAMES, found.estimates(), strict=True))
    ece = calibration_error((labels, scores), index, generator, bins, rounds)
    curve = reliability_curve(target, scores, bins)
    return Reliability(ece, **estimates, bins=bins.words, curve=curve, cautions=tuple(cautions))


def reliability_curve(
    target: NDArray[np.integer], probability: NDArray[np.floating], bins: Bins = TEN_BINS
) -> tuple[Bin, ...]:
    """The bins that hold entries, by their probability; arguments as `reliability`.

    Raises:
        DataError: as `evaluate`.
    """
    labels, scores = checked(target, probability)
    bin_of = bins.of(scores)
    members = [bin_of == one for one in np.unique(bin_of)]
    return tuple(
        Bin(int(m.sum()), float(scores[m].mean()), float(labels[m].mean())) for m in members
    )


def _slopes(weights: Floats, labels: Bools, odds: Floats, start: Floats) -> Floats:
    """Intercept and slope (R, 2) of logistic regressions with weights (R, N), by Newton's steps."""
    found = np.full((len(weights), 2), np.nan)
    finite = np.flatnonzero(~_parted(weights, labels, odds))
    # Centred and scaled: a step then goes the same way in whatever unit the log odds are.
    centre, spread = float(odds.mean()), max(float(odds.std()), 1e-12)
    x = (odds - centre) / spread
    at = np.array([start[0] + start[1] * centre, start[1] * spread])
    best = _climbed(weights[finite], labels, x, at)
    found[finite, 1] = best[:, 1] / spread
    found[finite, 0] = best[:, 0] - found[finite, 1] * centre
    return found


def _climbed(weights: Floats, labels: Bools, x: Floats, start: Floats) -> Floats:
    """(R, 2): where the likelihood is highest; NaN where that was not found in time."""
    at = np.tile(start, (len(weights), 1))
    height, step = _slope_at(weights, labels, x, at)
    going = np.arange(len(weights))
    for _ in range(_STEPS):
        going = going[np.abs(step[going]).max(axis=1) > _DONE]
        if not len(going):
            break
        tried = at[going] + step[going]
        reached, further = _slope_at(weights[going], labels, x, tried)
        # At the top two heights differ by rounding alone.
        higher = reached >= height[going] - 1e-9 * np.abs(height[going])
        up, down = going[higher], going[~higher]
        at[up], height[up], step[up] = tried[higher], reached[higher], further[higher]
        step[down] /= 2
    at[going] = np.nan
    return at


def _slope_at(weights: Floats, labels: Bools, x: Floats, at: Floats) -> tuple[Floats, Floats]:
    """Log likelihood (R,) at intercepts and slopes (R, 2), and Newton's step (R, 2) from there."""
    line = at[:, :1] + at[:, 1:] * x
    chance = expit(line)
    height = np.einsum("rn,rn->r", weights, labels * line - np.logaddexp(0, line))
    rest = weights * (labels - chance)
    bend = weights * chance * (1 - chance)
    g0, g1 = rest.sum(axis=1), rest @ x
    h00, h01, h11 = bend.sum(axis=1), bend @ x, bend @ x**2
    whole = np.maximum(h00 * h11 - h01**2, 1e-300)
    step = np.column_stack((h11 * g0 - h01 * g1, h00 * g1 - h01 * g0)) / whole[:, None]
    return height, np.clip(step, -2, 2)


def _parted(weights: Floats, labels: Bools, odds: Floats) -> NDArray[np.bool_]:
    """(R,): whether a threshold parts the classes, so that no slope is the best one."""
    drawn = weights > 0

    def ends(members: Bools) -> tuple[Floats, Floats]:
        low = np.where(drawn[:, members], odds[members], np.inf).min(axis=1)
        return low, np.where(drawn[:, members], odds[members], -np.inf).max(axis=1)

    (low, high), (other_low, other_high) = ends(labels), ends(~labels)
    return (low >= other_high) | (high <= other_low)


def _intercepts(weights: Floats, labels: Bools, odds: Floats) -> Floats:
    """Intercepts (R,) with the slope at 1: where the mean probability is the share of positives."""
    share = (weights @ labels.astype(np.float64)) / weights.sum(axis=1)
    # The intercept lies between these: the sum rises with it, and here it is too low or too high.
    low, high = logit(share) - odds.max(), logit(share) - odds.min()
    total = weights.sum(axis=1)
    at = np.zeros(len(weights)).clip(low, high)
    for _ in range(_STEPS):
        chance = expit(at[:, None] + odds)
        rest = share - np.einsum("rn,rn->r", weights, chance) / total
        low, high = np.where(rest >= 0, at, low), np.where(rest <= 0, at, high)
        bend = np.einsum("rn,rn->r", weights, chance * (1 - chance)) / total
        new = at + rest / np.maximum(bend, 1e-300)
        # Newton's step where it stays between, else the middle.
        new = np.where((new > low) & (new < high), new, (low + high) / 2)
        done = np.abs(new - at).max() <= _DONE
        at = new
        if done:
            break
    return at


def _cautions(start: Floats, undefined: float, clipped: int) -> list[str]:
    cautions = []
    if np.isnan(start).any():
        cautions.append(
            "No calibration slope: the probability parts the classes without an error, or all "
            "probabilities are equal."
        )
    elif undefined > _MANY_UNDEFINED:
        cautions.append(
            f"In {undefined:.0%} of the resamples the calibration slope is undefined, and they are "
            f"left out of its interval: it is likely too narrow."
        )
    if clipped:
        cautions.append(
            f"{clipped} probabilities are nearer than {CLIPPED:g} to 0 or 1 and were taken for "
            f"that far away in the calibration slope and intercept."
        )
    return cautions
