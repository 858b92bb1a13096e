"""A classifier held against labels: scores, what stands beside them, subgroups, other sites."""

from covidssl.evaluation.judged import COLUMNS, Evaluation, Held, judge
from covidssl.evaluation.trivial import LOOK

__all__ = ["COLUMNS", "LOOK", "Evaluation", "Held", "judge"]
