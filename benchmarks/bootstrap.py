"""All scores with their intervals, beside the plain loop over resamples in scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics
from threadpoolctl import threadpool_limits

from benchmarks.rows import Bar, Device, Pair, Row, row
from benchmarks.timing import Contender, interleaved
from covidssl.metrics import ROUNDS, Estimate, evaluate
from covidssl.randomness import numpy_generator

PLAIN, SECONDS = "scikit-learn in a loop", "2 s"
_SECONDS = 2.0
_THRESHOLD = 0.5
_STREAM = 96


class Case(NamedTuple):
    """Predictions, and how many of them each patient has."""

    entries: int
    of_each: int = 1

    @property
    def name(self) -> str:
        """As it stands in a row."""
        whose = "each its own group" if self.of_each == 1 else f"{self.of_each} a patient"
        return f"{self.entries} predictions, {whose}"


class Set(NamedTuple):
    """Labels, probabilities and groups, (N,) each; two predictions of a hundred are alike."""

    target: NDArray[np.int64]
    probability: NDArray[np.float64]
    group: NDArray[np.int64]


_FULL = (Case(10_000), Case(10_000, 10), Case(400))
_TINY = (Case(60, 3),)


def run(device: Device, quick: bool) -> tuple[list[Row], tuple[int, ...]]:
    """All rows, and the number of threads; a GPU has none, since nothing is computed on one."""
    if device == "cuda":
        return [], (1,)
    with threadpool_limits(1):
        rows = [row for case in (_TINY if quick else _FULL) for row in _rows(case, quick)]
    return rows, (1,)


def _rows(case: Case, quick: bool) -> Iterator[Row]:
    """Ours in all its rounds; the loop in a few, which stand for as many as ours has."""
    made = drawn(case)
    rounds = 50 if quick else ROUNDS
    few = 2 if quick else 20
    seconds = interleaved(
        [
            Contender("ours", partial(ours, made, rounds)),
            Contender(PLAIN, partial(plain, made, few), few / rounds),
        ],
        rounds=2 if quick else 5,
        least_s=0.0,
    )
    name = f"{case.name}, {rounds} rounds"
    yield row(name, "s", Pair(seconds["ours"], seconds[PLAIN]), PLAIN, Bar("at least"))
    if case.entries == _FULL[0].entries:
        allowed = [_SECONDS] * len(seconds["ours"])
        yield row(name, "s", Pair(seconds["ours"], allowed), SECONDS, Bar("at most", 1.0))


def drawn(case: Case) -> Set:
    """A set of a classifier of middling skill."""
    generator = numpy_generator(0, _STREAM)
    group = np.arange(case.entries) // case.of_each
    target = generator.integers(0, 2, case.entries)
    logit = 1.5 * (target - 0.5) + generator.normal(size=case.entries)
    return Set(target, 1 / (1 + np.exp(-logit)), group)


def ours(made: Set, rounds: int) -> dict[str, Estimate]:
    """All scores with their intervals, by name."""
    group = None if len(np.unique(made.group)) == len(made.group) else list(map(str, made.group))
    generator = numpy_generator(1, _STREAM)
    scores = evaluate(made.target, made.probability, _THRESHOLD, group, generator, rounds)
    return scores.estimates()


def plain(made: Set, rounds: int) -> dict[str, tuple[float, float]]:
    """The ends of the same intervals: every round draws patients and calls scikit-learn."""
    generator = numpy_generator(1, _STREAM)
    groups = int(made.group[-1]) + 1
    order = np.argsort(made.group, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(made.group))[:-1])
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        rows = np.concatenate([members[g] for g in generator.integers(0, groups, groups)])
        for name, value in scored(made.target[rows], made.probability[rows]).items():
            found.setdefault(name, []).append(value)
    return {
        name: (float(np.percentile(values, 2.5)), float(np.percentile(values, 97.5)))
        for name, values in found.items()
    }


def scored(target: NDArray[np.int64], probability: NDArray[np.float64]) -> dict[str, float]:
    """The scores of one resample, each by its function of scikit-learn."""
    called = (probability >= _THRESHOLD).astype(np.int64)
    return {
        "accuracy": metrics.accuracy_score(target, called),
        "balanced_accuracy": metrics.balanced_accuracy_score(target, called),
        "sensitivity": metrics.recall_score(target, called),
        "specificity": metrics.recall_score(target, called, pos_label=0),
        "ppv": metrics.precision_score(target, called),
        "npv": metrics.precision_score(target, called, pos_label=0),
        "f1": metrics.f1_score(target, called),
        "mcc": metrics.matthews_corrcoef(target, called),
        "auroc": metrics.roc_auc_score(target, probability),
        "auprc": metrics.average_precision_score(target, probability),
        "brier": metrics.brier_score_loss(target, probability),
    }
