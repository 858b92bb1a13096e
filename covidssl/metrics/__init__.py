"""What a set of probabilities is worth, with intervals that know which images belong together."""

from covidssl.metrics.binned import TEN_BINS, Bin, Bins, CalibrationError
from covidssl.metrics.decision import Asked, DecisionCurve, decision_curve
from covidssl.metrics.delong import DelongArea, delong_interval, paired_delong
from covidssl.metrics.measures import NAMES, Metric
from covidssl.metrics.paired import Part, combined, paired_difference
from covidssl.metrics.permuted import mcnemar_test, permutation_test
from covidssl.metrics.prevalence import predictive_values
from covidssl.metrics.reliability import Reliability, reliability, reliability_curve
from covidssl.metrics.resampling import HALF_WIDTH, ROUNDS, Estimate
from covidssl.metrics.scores import FEW_FOR_SHARES, FEW_GROUPS, Scores, evaluate
from covidssl.metrics.tested import Tested, holm

__all__ = [
    "FEW_FOR_SHARES",
    "FEW_GROUPS",
    "HALF_WIDTH",
    "NAMES",
    "ROUNDS",
    "TEN_BINS",
    "Asked",
    "Bin",
    "Bins",
    "CalibrationError",
    "DecisionCurve",
    "DelongArea",
    "Estimate",
    "Metric",
    "Part",
    "Reliability",
    "Scores",
    "Tested",
    "combined",
    "decision_curve",
    "delong_interval",
    "evaluate",
    "holm",
    "mcnemar_test",
    "paired_delong",
    "paired_difference",
    "permutation_test",
    "predictive_values",
    "reliability",
    "reliability_curve",
]
