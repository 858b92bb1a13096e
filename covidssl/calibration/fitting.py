"""Calibration fitted on validation: Platt scaling, a temperature, or isotonic regression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from covidssl.calibration.curve import Calibration, CalibrationKind
from covidssl.errors import DataError

LEAST_OF_A_CLASS = 10
LEAST_FOR_ISOTONIC = 100
_LEARNT_NOTHING = (
    "Not calibrated: on validation the logit is no higher for positives than for negatives, so the "
    "network has learnt nothing that could be scaled."
)

_TOO_FAR_OFF = (
    "Not calibrated: the validation logits lie so far off 0 that no temperature above 0 fits; take "
    "calibration=platt, which moves them too."
)


def fit_calibration(
    logits: NDArray[np.floating], target: NDArray[np.integer], kind: CalibrationKind = "platt"
) -> Calibration:
    """A calibration by regression of the label on the logit.

    `platt`: scale and bias by logistic regression (J. Platt, 1999). `temperature`: the scale alone
    (C. Guo et al., ICML 2017), so that a logit of 0 stays a probability of a half. `isotonic`: the
    rising curve that fits best, as a line through the middle of each of its steps (A. P. Oron and
    N. Flournoy, Statistics in Biopharmaceutical Research 2017), so that scans within one step keep
    their order.

    The labels are smoothed as Platt did, which keeps every fit finite where the classes are
    separated, keeps an isotonic curve away from 0 and 1 (a sigmoid rounds to them far out), and
    costs nothing where there are many entries.
    The identity comes back, with its reason, when a class has fewer than `LEAST_OF_A_CLASS` entries
    or all together, for `isotonic`, fewer than `LEAST_FOR_ISOTONIC`; when all logits are equal, or
    the logit falls while the label rises.

    Args:
        logits: (N,) of the validation set.
        target: (N,) labels, 1 = positive, 0 = negative.
        kind: how.

    Raises:
        DataError: when lengths differ, a logit is not finite or a label is neither 0 nor 1.
    """
    values, labels = checked(logits, target, "logits")
    reason = _too_few(labels, kind)
    if reason:
        return Calibration(reason=reason, kind=kind)
    centre, spread = float(values.mean()), float(values.std())
    if spread < 1e-9 * max(1.0, abs(centre)):
        return Calibration(reason="Not calibrated: all validation logits are equal.", kind=kind)
    soft = _smoothed(labels)
    slope, intercept = _logistic((values - centre) / spread, soft)
    if slope <= 0:
        return Calibration(reason=_LEARNT_NOTHING, kind=kind)
    if kind == "isotonic":
        return Calibration(kind=kind, knots=_isotonic(values, soft))
    if kind == "temperature":
        slope, _ = _logistic(values / spread, soft, intercept=False)
        return (
            Calibration(slope / spread, kind=kind)
            if slope > 0
            else Calibration(reason=_TOO_FAR_OFF, kind=kind)
        )
    return Calibration(scale=slope / spread, bias=intercept - slope * centre / spread)


def _too_few(labels: NDArray[np.bool_], kind: CalibrationKind) -> str | None:
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if min(positives, negatives) < LEAST_OF_A_CLASS:
        return (
            f"Not calibrated: validation holds {positives} positive and {negatives} "
            f"negative entries, at least {LEAST_OF_A_CLASS} of each are needed."
        )
    if kind == "isotonic" and len(labels) < LEAST_FOR_ISOTONIC:
        return (
            f"Not calibrated: validation holds {len(labels)} entries, and isotonic regression "
            f"needs {LEAST_FOR_ISOTONIC}; take calibration=platt or calibration=temperature."
        )
    return None


def _smoothed(labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Platt's labels (N,): a little less than 1, a little more than 0."""
    positives = labels.sum()
    negatives = len(labels) - positives
    return np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def _logistic(
    values: NDArray[np.float64], soft: NDArray[np.float64], intercept: bool = True
) -> tuple[float, float]:
    """Slope and intercept for standardised logits (N,) and soft labels (N,)."""
    # A soft label is both hard ones, weighted. The weak penalty (C) is for the solver's sake.
    model = LogisticRegression(C=1000.0, fit_intercept=intercept).fit(
        np.tile(values, 2)[:, None],
        np.repeat((1, 0), len(values)),
        sample_weight=np.concatenate((soft, 1 - soft)),
    )
    return float(model.coef_[0, 0]), float(np.ravel(model.intercept_)[0]) if intercept else 0.0


def _isotonic(
    values: NDArray[np.float64], soft: NDArray[np.float64]
) -> tuple[tuple[float, float], ...]:
    """Knots in the middle of each step."""
    fitted = IsotonicRegression(out_of_bounds="clip").fit_transform(values, soft)
    steps, step_of, counts = np.unique(
        np.round(fitted, 12), return_inverse=True, return_counts=True
    )
    middles = np.bincount(step_of, weights=values) / counts
    return tuple(zip(middles.tolist(), steps.tolist(), strict=True))


def checked(
    values: NDArray[np.floating], target: NDArray[np.integer], what: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values (N,) as float64 and labels (N,) as bool, or an error that says what is wrong."""
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
