"""What a test between two classifiers says, and Holm's correction where there are several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.metrics.resampling import Estimate


class Tested(NamedTuple):
    """A paired test of two classifiers a and b on the same entries.

    Attributes:
        test: its name.
        metric: what is compared.
        difference: of a minus b, with its 95 % interval; without one (NaN) where the test has none.
        statistic: of the test; what it is says the function.
        p_value: two-sided.
        groups: that were taken for independent.
        cautions: why it should not be taken at face value, in plain words.
    """

    test: str
    metric: str
    difference: Estimate
    statistic: float
    p_value: float
    groups: int
    cautions: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All of it for a JSON file; `low` and `high` are None where the test has no interval."""
        ends = {
            name: None if np.isnan(end) else end
            for name, end in (("low", self.difference.low), ("high", self.difference.high))
        }
        return {
            **self._asdict(),
            "difference": {"value": self.difference.value, **ends},
            "cautions": list(self.cautions),
        }


def holm(p_values: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    """p-values (K,) of K tests corrected for their number (S. Holm, Scand. J. Statist. 1979).

    Compared with a level as they are: the chance that any of the K is below it by luck alone is at
    most that level, whatever the tests have in common.

    Raises:
        DataError: when a value is not in [0, 1].
    """
    given = np.asarray(p_values, dtype=np.float64)
    if given.ndim != 1 or not ((given >= 0) & (given <= 1)).all():
        raise DataError(f"p-values {given.tolist()}: expected a list of numbers from 0 to 1.")
    order = np.argsort(given, kind="stable")
    stepped = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    corrected = np.empty(len(given))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected
