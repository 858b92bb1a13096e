"""From a logit to a probability that means what it says, and the operating point.

Both are fitted on validation data alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from covidssl.errors import DataError

LEAST_OF_A_CLASS = 10
DEFAULT_POINT = 0.5


@dataclass(frozen=True)
class Calibration:
    """probability = sigmoid(scale * logit + bias).

    The scale is positive, so the order of scans stays. The probability is true for a set with the
    validation set's share of positives, and for no other.

    Attributes:
        scale: the inverse of a temperature.
        bias: added to the scaled logit.
        reason: why nothing was fitted, where the identity stands in; None for a fitted one.
    """

    scale: float = 1.0
    bias: float = 0.0
    reason: str | None = None

    def probability(self, logit: NDArray[np.floating] | float) -> NDArray[np.float64]:
        """Calibrated probability in [0, 1], same shape as `logit`."""
        return np.asarray(expit(self.scale * np.asarray(logit, dtype=np.float64) + self.bias))


def fit_calibration(logits: NDArray[np.floating], target: NDArray[np.integer]) -> Calibration:
    """Platt scaling: scale and bias by logistic regression of the label on the logit.

    The labels are smoothed as Platt did, which keeps the fit finite where the classes are
    separated, and costs nothing where there are many entries. The identity comes back, with its
    reason, when a class has fewer than `LEAST_OF_A_CLASS` entries, all logits are equal, or the
    logit falls while the label rises.

    Args:
        logits: (N,) of the validation set.
        target: (N,) labels, 1 = positive, 0 = negative.

    Raises:
        DataError: when lengths differ, a logit is not finite or a label is neither 0 nor 1.
    """
    values, labels = _checked(logits, target, "logits")
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if min(positives, negatives) < LEAST_OF_A_CLASS:
        return Calibration(
            reason=f"Not calibrated: validation holds {positives} positive and {negatives} "
            f"negative entries, at least {LEAST_OF_A_CLASS} of each are needed."
        )
    centre, spread = float(values.mean()), float(values.std())
    if spread < 1e-9 * max(1.0, abs(centre)):
        return Calibration(reason="Not calibrated: all validation logits are equal.")
    slope, intercept = _platt((values - centre) / spread, labels)
    if slope <= 0:
        return Calibration(
            reason="Not calibrated: on validation the logit is no higher for positives than for "
            "negatives, so the network has learnt nothing that could be scaled."
        )
    return Calibration(scale=slope / spread, bias=intercept - slope * centre / spread)


def youden_point(probability: NDArray[np.floating], target: NDArray[np.integer]) -> float:
    """The threshold with the highest sensitivity + specificity; at or above it is positive.

    Thresholds lie midway between neighbouring probabilities, so that none depends on the last digit
    of one entry. Of equally good ones the lowest is taken: the more sensitive. Where none is better
    than calling all entries the same, `DEFAULT_POINT` is given.

    Args:
        probability: (N,) of the validation set.
        target: (N,) labels, 1 = positive, 0 = negative.

    Raises:
        DataError: when lengths differ, a value is not finite, or a class is absent.
    """
    values, labels = _checked(probability, target, "probabilities")
    if labels.all() or not labels.any():
        raise DataError(
            f"All {len(labels)} validation entries carry the same label; an operating point needs "
            f"both classes. Look at the split."
        )
    steps, index = np.unique(values, return_inverse=True)
    if len(steps) == 1:
        return DEFAULT_POINT
    sensitivity = 1 - np.cumsum(np.bincount(index, weights=labels))[:-1] / labels.sum()
    specificity = np.cumsum(np.bincount(index, weights=~labels))[:-1] / (~labels).sum()
    gain = sensitivity + specificity - 1
    best = int(np.flatnonzero(gain >= gain.max() - 1e-12)[0])
    if gain[best] <= 1e-12:
        return DEFAULT_POINT
    low, high = float(steps[best]), float(steps[best + 1])
    middle = (low + high) / 2
    # Between neighbouring floats there is no middle: it rounds down to the lower one.
    return middle if middle > low else high


def _platt(values: NDArray[np.float64], labels: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept for standardised logits (N,)."""
    positives = labels.sum()
    negatives = len(labels) - positives
    soft = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # A soft label is both hard ones, weighted. The weak penalty (C) is for the solver's sake.
    model = LogisticRegression(C=1000.0).fit(
        np.tile(values, 2)[:, None],
        np.repeat((1, 0), len(values)),
        sample_weight=np.concatenate((soft, 1 - soft)),
    )
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _checked(
    values: NDArray[np.floating], target: NDArray[np.integer], what: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.shape != np.shape(target):
        raise DataError(
            f"Labels of shape {np.shape(target)} and {what} of shape {array.shape} do not fit: one "
            f"of each an entry is needed."
        )
    if not np.isfinite(array).all():
        raise DataError(
            f"{int((~np.isfinite(array)).sum())} of {len(array)} {what} are not finite."
        )
    if not np.isin(target, (0, 1)).all():
        raise DataError("A label other than 0 and 1 was found: 1 is positive, 0 negative.")
    return array, np.asarray(target) == 1
