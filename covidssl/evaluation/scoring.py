"""Everything that one set is scored by, with intervals from the same resamples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from covidssl.errors import DataError
from covidssl.evaluation.judged import Evaluation
from covidssl.metrics import (
    Asked,
    DecisionCurve,
    DelongArea,
    Estimate,
    Part,
    Reliability,
    Scores,
    combined,
    decision_curve,
    delong_interval,
    evaluate,
    reliability,
)
from covidssl.metrics.resampling import interval
from covidssl.randomness import numpy_generator

BOOTSTRAP_STREAM = 41
RIVAL_POINT = 0.5
PREVALENCES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of positives that a reader may have in mind, beside those that are asked for."""

_POINTS = 200  # of a curve in a file: more are not seen

Floats = NDArray[np.float64]


class Bootstrap(NamedTuple):
    """How intervals are drawn: the same seed gives every classifier the same resamples."""

    seed: int
    rounds: int

    def generator(self) -> np.random.Generator:
        """From the beginning of the stream, each time it is asked for."""
        return numpy_generator(self.seed, BOOTSTRAP_STREAM)


class SetScores(NamedTuple):
    """What one set says of the model.

    Attributes:
        model: its scores.
        rival: those of the trivial rival; None where it was not trained.
        over_rival: AUROC of the model minus that of the rival, on the same resamples.
        delong: the AUROC by DeLong's formula; None where it cannot be had.
        calibration: whether a probability means what it says.
        decision: what acting on it is worth.
        cautions: why numbers should not be taken at face value.
    """

    model: Scores
    rival: Scores | None
    over_rival: Estimate | None
    delong: DelongArea | None
    calibration: Reliability
    decision: DecisionCurve
    cautions: tuple[str, ...]


def scores_of(judged: Evaluation, bootstrap: Bootstrap) -> SetScores:
    """All scores of the model on a set, and of the trivial rival; its threshold is 0.5.

    Raises:
        DataError: when a class is absent or all scans belong to one group.
    """
    said = (judged.target, judged.probability)
    group, rounds = judged.group, bootstrap.rounds
    model = evaluate(*said, judged.threshold, group, bootstrap.generator(), rounds)
    rival = over_rival = None
    if judged.rival is not None:
        rival = evaluate(
            judged.target, judged.rival, RIVAL_POINT, group, bootstrap.generator(), rounds
        )
        parts = [Part(judged.probability, judged.threshold, 1), Part(judged.rival, RIVAL_POINT, -1)]
        over_rival = combined(judged.target, parts, group, bootstrap.generator(), rounds=rounds)
    calibration = reliability(*said, group, bootstrap.generator(), rounds=rounds)
    decision = decision_curve(*said, group, bootstrap.generator(), Asked(rounds=rounds))
    delong: DelongArea | None = None
    why: tuple[str, ...] = ()
    try:
        delong = delong_interval(*said, group)
    except DataError as error:
        why = (f"No DeLong interval: {error}",)
    cautions = dict.fromkeys(
        (*model.cautions, *(delong.cautions if delong else ()), *calibration.cautions, *why)
    )
    return SetScores(model, rival, over_rival, delong, calibration, decision, tuple(cautions))


class AtPrevalence(NamedTuple):
    """What an answer means, and how often it is right, where the disease is as frequent as said."""

    prevalence: float
    ppv: Estimate
    npv: Estimate
    accuracy: Estimate

    def as_json(self) -> dict[str, Any]:
        """For a JSON file; an estimate is None where it is not defined."""
        return {
            "prevalence": self.prevalence,
            **{
                name: None if np.isnan(one.value) else one._asdict()
                for name, one in zip(self._fields[1:], self[1:], strict=True)
                if isinstance(one, Estimate)
            },
        }


def at_prevalences(scores: Scores, asked: Sequence[float]) -> list[AtPrevalence]:
    """PPV, NPV and accuracy at the usual prevalences and those asked for, rising.

    Sensitivity and specificity are taken to carry over, which holds where the patients of each
    class are alike (label shift), and not where they differ.

    Raises:
        DataError: for a prevalence that is not above 0 and below 1.
    """
    sensitivity, specificity, _ = scores.at_point.rows.T
    found = []
    for share in sorted({*PREVALENCES, *asked}):
        predictive = scores.at_point.predictive(share)
        right = share * sensitivity + (1 - share) * specificity
        accuracy = interval(float(right[0]), right[1:])
        found.append(AtPrevalence(share, predictive.ppv, predictive.npv, accuracy))
    return found


def curves(judged: Evaluation, scores: SetScores) -> dict[str, Any]:
    """Points of the ROC, precision-recall, reliability and decision curves, for a JSON file."""
    rated = [("model", judged.probability)]
    if judged.rival is not None:
        rated.append(("trivial rival", judged.rival))
    return {
        "roc": [{"name": name, **_roc(judged.target, said)} for name, said in rated],
        "pr": [{"name": name, **_pr(judged.target, said)} for name, said in rated],
        "reliability": [one._asdict() for one in scores.calibration.curve],
        "decision": scores.decision.as_json(),
    }


def _roc(target: NDArray[np.int64], said: Floats) -> dict[str, list[float | None]]:
    false_alarms, sensitivity, threshold = roc_curve(target, said)
    # The first threshold is infinite: nothing is called positive.
    return _thinned({"x": false_alarms, "y": sensitivity, "threshold": threshold})


def _pr(target: NDArray[np.int64], said: Floats) -> dict[str, list[float | None]]:
    precision, sensitivity, threshold = precision_recall_curve(target, said)
    return _thinned({"x": sensitivity, "y": precision, "threshold": np.r_[threshold, np.inf]})


def _thinned(columns: dict[str, Floats]) -> dict[str, list[float | None]]:
    n = len(next(iter(columns.values())))
    places = np.unique(np.linspace(0, n - 1, min(n, _POINTS)).round().astype(int))
    return {
        name: [round(float(v), 6) if np.isfinite(v) else None for v in column[places]]
        for name, column in columns.items()
    }
