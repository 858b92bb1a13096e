"""The curve from a logit to a calibrated probability, as a model card holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

CalibrationKind = Literal["platt", "temperature", "isotonic"]


@dataclass(frozen=True)
class Calibration:
    """probability = sigmoid(scale * logit + bias), or a line through knots where there are any.

    The curve never falls, so the order of scans stays; beyond the outer knots it is level, and
    scans there are tied. The probability is true for a set with the validation set's share of
    positives, and for no other.

    Attributes:
        scale: the inverse of a temperature, above 0.
        bias: added to the scaled logit; 0 of a temperature.
        reason: why nothing was fitted, where the identity stands in; None for a fitted one.
        kind: how it was fitted.
        knots: of an isotonic calibration: logit and probability, both rising, two at least.
    """

    scale: float = 1.0
    bias: float = 0.0
    reason: str | None = None
    kind: CalibrationKind = "platt"
    knots: tuple[tuple[float, float], ...] = ()

    def probability(self, logit: NDArray[np.floating] | float) -> NDArray[np.float64]:
        """Calibrated probability in [0, 1], same shape as `logit`."""
        values = np.asarray(logit, dtype=np.float64)
        if self.knots:
            return np.asarray(np.interp(values, *np.transpose(self.knots)))
        return np.asarray(expit(self.scale * values + self.bias))

    @property
    def formula(self) -> str:
        """How the probability follows from `scan_logit`, in words."""
        if self.knots:
            return (
                "linear in scan_logit between the knots (scan_logit, probability), "
                "level beyond the outer ones"
            )
        return "1 / (1 + exp(-(scale * scan_logit + bias)))"

    @property
    def numbers(self) -> dict[str, object]:
        """What the formula speaks of."""
        if self.knots:
            return {"knots": [list(knot) for knot in self.knots]}
        return {"scale": self.scale, "bias": self.bias}

    def fault(self) -> str:
        """What is wrong with its numbers, in words; empty where nothing is."""
        if not (np.isfinite((self.scale, self.bias)).all() and self.scale > 0):
            return (
                f"scale {self.scale} and bias {self.bias}: expected finite numbers, "
                f"the scale above 0"
            )
        if not self.knots:
            return ""
        if self.kind != "isotonic":
            return f"knots go with the kind isotonic, and this is {self.kind}"
        logits, probabilities = np.transpose(self.knots)
        sound = (
            len(self.knots) >= 2
            and np.isfinite(logits).all()
            and (np.diff(logits) > 0).all()
            and (np.diff(probabilities) >= 0).all()
            and probabilities[0] >= 0
            and probabilities[-1] <= 1
        )
        return "" if sound else "knots: expected two or more, rising logits and probabilities"
