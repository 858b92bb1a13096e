"""The scores of a classifier as functions of weights, so that all resamples are had at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from covidssl.metrics.labelled import Bools, Floats, checked_threshold

Metric = Literal[
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "f1",
    "mcc",
    "auroc",
    "auprc",
    "brier",
]
NAMES: tuple[Metric, ...] = get_args(Metric)
_AREAS = ("auroc", "auprc")


class Case(NamedTuple):
    """What a measure is taken of, each (N,): labels, scores, and whether each is called positive.

    `errors` are the squared errors that the Brier score averages.
    """

    labels: Bools
    scores: Floats
    called: Bools
    errors: Floats


def case(labels: Bools, scores: Floats, threshold: float) -> Case:
    """The case of probabilities (N,) that are called positive at or above a threshold.

    Raises:
        DataError: when the threshold is NaN.
    """
    called = scores >= checked_threshold(threshold)
    return Case(labels, scores, called, (scores - labels) ** 2)


class Measures:
    """Named scores of a case for any weights of its entries."""

    def __init__(self, of: Case, names: Sequence[Metric] = NAMES) -> None:
        self.names = tuple(names)
        labels, called = of.labels, of.called
        cells = (labels & called, labels & ~called, ~labels & called, ~labels & ~called, of.errors)
        self._cells = np.column_stack(cells).astype(np.float64)
        wants_areas = any(name in _AREAS for name in names)
        self._ranked = Ranked(labels, of.scores) if wants_areas else None

    def __call__(self, weights: Floats) -> Floats:
        """Weights (R, N) -> (R, M), in the order of `names`; NaN where one is undefined."""
        found = at_threshold(weights @ self._cells)
        if self._ranked is not None:
            found |= dict(zip(_AREAS, self._ranked.areas(weights), strict=True))
        return np.column_stack([found[name] for name in self.names])


def at_threshold(cells: Floats) -> dict[str, Floats]:
    """Scores (R,) at an operating point, by name.

    Args:
        cells: (R, 5) weights of the true positive, false negative, false positive and true negative
            entries, and the weighted sum of squared errors.
    """
    hit, missed, false_alarm, cleared, errors = cells.T
    total = hit + missed + false_alarm + cleared
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, specificity = hit / (hit + missed), cleared / (cleared + false_alarm)
        margins = (
            (hit + false_alarm) * (hit + missed) * (cleared + false_alarm) * (cleared + missed)
        )
        # As usual 0 where nothing, or everything, is called positive.
        mcc = (hit * cleared - false_alarm * missed) / np.sqrt(np.where(margins > 0, margins, 1.0))
        return {
            "accuracy": (hit + cleared) / total,
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "ppv": hit / (hit + false_alarm),
            "npv": cleared / (cleared + missed),
            "f1": 2 * hit / (2 * hit + missed + false_alarm),
            "mcc": np.where(margins > 0, mcc, 0.0),
            "brier": errors / total,
        }


class Ranked:
    """Scores sorted once, so that the areas of any weighting are sums over tied scores."""

    def __init__(self, labels: Bools, scores: Floats) -> None:
        self._order = np.argsort(-scores, kind="stable")
        descending = scores[self._order]
        self._ties = np.flatnonzero(np.r_[True, np.diff(descending) != 0])
        self._tied = len(self._ties) < len(scores)
        self._positive = labels[self._order].astype(np.float64)

    def areas(self, weights: Floats) -> tuple[Floats, Floats]:
        """AUROC and average precision, each (R,), of weights (R, N)."""
        tied = np.take(weights, self._order, axis=1)
        positive = tied * self._positive
        if self._tied:
            tied = np.add.reduceat(tied, self._ties, axis=1)
            positive = np.add.reduceat(positive, self._ties, axis=1)
        above = np.cumsum(positive, axis=1)
        called = np.cumsum(tied, axis=1)
        # Copies: the sums are written over below.
        positives, total = above[:, -1].copy(), called[:, -1].copy()
        with np.errstate(invalid="ignore", divide="ignore"):
            # A pair of equal scores counts half: the diagonal step of the curve.
            half = above - positive / 2
            won = np.einsum("rn,rn->r", tied, half) - np.einsum("rn,rn->r", positive, half)
            auroc = won / (positives * (total - positives))
            # Before the first entry that was drawn there is neither a hit nor a call.
            np.maximum(called, 1.0, out=called)
            auprc = np.einsum("rn,rn->r", positive, np.divide(above, called, out=above)) / positives
        return auroc, auprc
