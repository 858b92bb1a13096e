"""The operating point: the probability from which on a scan is called positive.

It is chosen on validation and never on test. Candidates lie midway between neighbouring
probabilities, so that none depends on the last digit of one entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from covidssl.calibration.fitting import checked
from covidssl.errors import DataError

DEFAULT_POINT = 0.5
_EQUAL = 1e-12


class _Point(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class YoudenPoint(_Point):
    """Highest sensitivity + specificity."""

    kind: Literal["youden"] = "youden"

    def choose(self, probability: NDArray[np.floating], target: NDArray[np.integer]) -> float:
        """The threshold, for probabilities (N,) and labels (N,); see `youden_point`."""
        return youden_point(probability, target)

    @property
    def words(self) -> str:
        """As a card says it."""
        return "highest sensitivity + specificity on validation (Youden)"


class SensitivityPoint(_Point):
    """The highest threshold that reaches a sensitivity.

    Attributes:
        target: sensitivity on validation, at least.
    """

    kind: Literal["sensitivity"] = "sensitivity"
    target: float = Field(0.95, gt=0, le=1)

    def choose(self, probability: NDArray[np.floating], target: NDArray[np.integer]) -> float:
        """The threshold, for probabilities (N,) and labels (N,).

        Raises:
            DataError: when lengths differ, a value is not finite, or a class is absent.
        """
        found = _candidates(probability, target)
        return float(found.threshold[found.sensitivity >= self.target - _EQUAL][-1])

    @property
    def words(self) -> str:
        """As a card says it."""
        return f"highest threshold with a sensitivity of {self.target:g} or more on validation"


class CostPoint(_Point):
    """The least expected cost.

    Thresholds end at 1, at which a probability of 1 is still called positive.

    Attributes:
        ratio: cost of a missed positive over that of a false alarm.
        prevalence: share of positives where it shall be used; None: that of validation.
    """

    kind: Literal["cost"] = "cost"
    ratio: float = Field(1.0, gt=0, allow_inf_nan=False)
    prevalence: float | None = Field(None, gt=0, lt=1)

    def choose(self, probability: NDArray[np.floating], target: NDArray[np.integer]) -> float:
        """The threshold, for probabilities (N,) and labels (N,); of equal costs the lowest.

        Raises:
            DataError: when lengths differ, a value is not finite, or a class is absent.
        """
        found = _candidates(probability, target)
        share = float(np.mean(target)) if self.prevalence is None else self.prevalence
        missed = self.ratio * share * (1 - found.sensitivity)
        cost = missed + (1 - share) * (1 - found.specificity)
        return float(found.threshold[np.flatnonzero(cost <= cost.min() + _EQUAL)[0]])

    @property
    def words(self) -> str:
        """As a card says it."""
        share = "validation's" if self.prevalence is None else f"{self.prevalence:g}"
        return (
            f"least cost on validation, a missed positive at {self.ratio:g} times a false alarm, "
            f"prevalence {share}"
        )


def _kind(given: Any) -> Any:
    """Youden's where none is named."""
    if isinstance(given, Mapping):
        return given.get("kind", "youden")
    return getattr(given, "kind", None)


OperatingPointPlan = Annotated[
    Annotated[YoudenPoint, Tag("youden")]
    | Annotated[SensitivityPoint, Tag("sensitivity")]
    | Annotated[CostPoint, Tag("cost")],
    Discriminator(_kind),
]
"""Any rule of a configuration, by `operating_point.kind`."""


def youden_point(probability: NDArray[np.floating], target: NDArray[np.integer]) -> float:
    """The threshold with the highest sensitivity + specificity; at or above it is positive.

    Of equally good ones the lowest is taken: the more sensitive. Where none is better than calling
    all entries the same, `DEFAULT_POINT` is given.

    Args:
        probability: (N,) of the validation set.
        target: (N,) labels, 1 = positive, 0 = negative.

    Raises:
        DataError: when lengths differ, a value is not finite, or a class is absent.
    """
    found = _candidates(probability, target)
    gain = found.sensitivity + found.specificity - 1
    if gain.max() <= _EQUAL:
        return DEFAULT_POINT
    return float(found.threshold[np.flatnonzero(gain >= gain.max() - _EQUAL)[0]])


def one_sided(probability: NDArray[np.floating], point: float) -> str:
    """That a point calls all entries (N,) of validation the same, in words; empty if it does not.

    As a target sensitivity of 1, or costs far from even, may ask for.
    """
    called = np.asarray(probability) >= point
    if called.all():
        return "; it calls every validation scan positive"
    return "" if called.any() else "; it calls no validation scan positive"


class _Candidates(NamedTuple):
    """Thresholds, rising, and what each reaches: (K,)."""

    threshold: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]


def _candidates(probability: NDArray[np.floating], target: NDArray[np.integer]) -> _Candidates:
    """All thresholds from 0, which calls every entry positive, to one that calls none so."""
    values, labels = checked(probability, target, "probabilities")
    if labels.all() or not labels.any():
        raise DataError(
            f"All {len(labels)} validation entries carry the same label; an operating point needs "
            f"both classes. Look at the split."
        )
    steps, index = np.unique(values, return_inverse=True)
    below_positive = np.r_[0, np.cumsum(np.bincount(index, weights=labels))]
    below_negative = np.r_[0, np.cumsum(np.bincount(index, weights=~labels))]
    ends = np.r_[steps, 1.0]
    middles = (steps + ends[1:]) / 2
    # Between neighbouring floats there is no middle: it rounds down to the lower one.
    threshold = np.r_[0.0, np.where(middles > steps, middles, ends[1:])]
    # With a probability of 1 among them no threshold calls none positive.
    kept = np.r_[True, ends[1:] > steps]
    return _Candidates(
        threshold[kept],
        1 - (below_positive / labels.sum())[kept],
        (below_negative / (~labels).sum())[kept],
    )
