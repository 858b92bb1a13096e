"""What a positive and a negative answer mean where the disease is as frequent as is said.

A test set rarely has the share of positives that a clinic has. Sensitivity and specificity carry
over from one to the other (as far as the patients are alike), predictive values do not: they follow
from both and the prevalence by Bayes' rule.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from covidssl.metrics.labelled import Floats, checked_prevalence
from covidssl.metrics.resampling import Estimate, interval


class Predictive(NamedTuple):
    """Positive and negative predictive value; NaN where nothing, or everything, is called so."""

    ppv: Estimate
    npv: Estimate


class AtPoint(NamedTuple):
    """An operating point in a set and in its resamples: columns of (1 + R, 3).

    The first row is the set itself. Columns are sensitivity, specificity and the share of positives
    in the row's own sample.
    """

    rows: Floats

    def predictive(self, prevalence: float | None = None) -> Predictive:
        """Both predictive values with their intervals.

        Args:
            prevalence: share of positives that they shall hold for, above 0 and below 1. None: that
                of the set, and of every resample its own, so that they are plain shares of the
                entries called positive and negative.

        Raises:
            DataError: when the prevalence is no such share.
        """
        sensitivity, specificity, share = self.rows.T
        if prevalence is not None:
            share = np.full(len(self.rows), checked_prevalence(prevalence))
        found = predictive_values(sensitivity, specificity, share)
        return Predictive(*(interval(float(values[0]), values[1:]) for values in found))


def predictive_values(
    sensitivity: Floats, specificity: Floats, prevalence: Floats
) -> tuple[Floats, Floats]:
    """PPV and NPV by Bayes' rule, each of the shape given; NaN where there is no such answer."""
    hit, missed = sensitivity * prevalence, (1 - sensitivity) * prevalence
    cleared, alarm = specificity * (1 - prevalence), (1 - specificity) * (1 - prevalence)
    with np.errstate(invalid="ignore", divide="ignore"):
        return hit / (hit + alarm), cleared / (cleared + missed)
