"""What a set of probabilities is worth, with intervals that know which images belong together.

An interval is a 95 % percentile bootstrap in which whole groups are drawn (patients, or runs of
neighbouring files where no patient is known): slices of one patient are no independent witnesses,
and an interval that takes them for such is too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError

ROUNDS = 2000
FEW_GROUPS = 10
_PERCENTILES = (2.5, 97.5)
# Weights of one block of rounds: bounds the memory at about 100 MB, whatever the number of images.
_BLOCK = 2_000_000

Floats = NDArray[np.float64]
Metric = Literal["auroc", "accuracy"]


class Estimate(NamedTuple):
    """A value with its 95 % percentile-bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """The six scores of one classifier on one labelled set.

    Attributes:
        accuracy, sensitivity, specificity, f1: at the operating point; a probability at or above
            the threshold is called positive.
        auroc, auprc: over all thresholds; AUPRC is the average precision, without interpolation.
        groups: how many groups were resampled.
        skipped: rounds left out of the intervals because a class was missing in them.
        cautions: why the intervals should not be taken at face value, in plain words.
    """

    accuracy: Estimate
    sensitivity: Estimate
    specificity: Estimate
    f1: Estimate
    auroc: Estimate
    auprc: Estimate
    groups: int
    skipped: int
    cautions: tuple[str, ...] = ()

    def estimates(self) -> dict[str, Estimate]:
        """The six estimates by name."""
        return {name: getattr(self, name) for name in NAMES}

    def as_json(self) -> dict[str, dict[str, float]]:
        """The six estimates by name, each as {"value", "low", "high"}, for a JSON file."""
        return {name: estimate._asdict() for name, estimate in self.estimates().items()}


NAMES = ("accuracy", "sensitivity", "specificity", "f1", "auroc", "auprc")


def evaluate(
    target: NDArray[np.integer],
    probability: NDArray[np.floating],
    threshold: float,
    group: Sequence[str] | None,
    generator: np.random.Generator,
    rounds: int = ROUNDS,
) -> Scores:
    """All scores of one classifier, with intervals.

    Args:
        target: (N,) labels, 1 = positive, 0 = negative.
        probability: (N,) probability of the positive class, in [0, 1].
        threshold: a probability at or above it is called positive.
        group: (N,) the group of each entry; None: every entry stands for itself.
        generator: draws the groups.
        rounds: how often the set is resampled.

    Raises:
        DataError: when lengths differ, a value is not finite or out of range, a class is absent, or
            there is one group only, so that nothing can be resampled.
    """
    labels, scores = _checked(target, probability)
    index, groups = _group_index(group, len(labels))
    ranked = _Ranked(labels, scores)

    def measure(weights: Floats) -> Floats:
        return np.column_stack((*_at(weights, labels, scores >= threshold), *ranked.areas(weights)))

    value, drawn, skipped = _resample(measure, labels, index, generator, rounds)
    estimates = _estimates(value, drawn)
    return Scores(
        **dict(zip(NAMES, estimates, strict=True)),
        groups=groups,
        skipped=skipped,
        cautions=_cautions(labels, index, estimates),
    )


def paired_difference(
    target: NDArray[np.integer],
    probabilities: tuple[NDArray[np.floating], NDArray[np.floating]],
    group: Sequence[str] | None,
    generator: np.random.Generator,
    metric: Metric = "auroc",
    thresholds: tuple[float, float] = (0.5, 0.5),
) -> Estimate:
    """How much better the first of two classifiers is than the second, on the same resamples.

    Args:
        target: (N,) labels, 1 = positive, 0 = negative.
        probabilities: two arrays (N,), of a and of b, for the same entries in the same order.
        group: (N,) the group of each entry; None: every entry stands for itself.
        generator: draws the groups.
        metric: what is compared.
        thresholds: the operating points of a and of b; used for the accuracy alone.

    Returns:
        The metric of a minus that of b; an interval without 0 shows a difference.

    Raises:
        DataError: as `evaluate`.
    """
    parts = [
        Part(probability, threshold, weight)
        for probability, threshold, weight in zip(probabilities, thresholds, (1, -1), strict=True)
    ]
    return combined(target, parts, group, generator, metric)


class Part(NamedTuple):
    """One classifier's share in a combination: probability (N,), operating point, weight."""

    probability: NDArray[np.floating]
    threshold: float
    weight: float


def combined(
    target: NDArray[np.integer],
    parts: Sequence[Part],
    group: Sequence[str] | None,
    generator: np.random.Generator,
    metric: Metric = "auroc",
) -> Estimate:
    """A weighted sum of one metric of several classifiers, all on the same resamples.

    Weights 1/D give the mean over D repetitions of a training; 1 and -1 give a difference. The
    interval holds for these trainings: it tells what other patients might have given, not what
    other trainings might.

    Args:
        target: (N,) labels, 1 = positive, 0 = negative.
        parts: the classifiers, for the same entries in the same order.
        group: (N,) the group of each entry; None: every entry stands for itself.
        generator: draws the groups.
        metric: what is summed.

    Raises:
        DataError: as `evaluate`.
    """
    measures = [_measure_one(target, part.probability, metric, part.threshold) for part in parts]
    labels, _ = _checked(target, parts[0].probability)
    index, _ = _group_index(group, len(labels))

    def measure(weights: Floats) -> Floats:
        return sum(
            (part.weight * one(weights) for part, one in zip(parts, measures, strict=True)),
            start=np.zeros(len(weights)),
        )[:, None]

    value, drawn, _ = _resample(measure, labels, index, generator, ROUNDS)
    return _estimates(value, drawn)[0]


def _measure_one(
    target: NDArray[np.integer],
    probability: NDArray[np.floating],
    metric: Metric,
    threshold: float,
) -> Callable[[Floats], Floats]:
    labels, scores = _checked(target, probability)
    if metric == "accuracy":
        called = scores >= threshold
        return lambda weights: _at(weights, labels, called)[0]
    ranked = _Ranked(labels, scores)
    return lambda weights: ranked.areas(weights)[0]


def _checked(
    target: NDArray[np.integer], probability: NDArray[np.floating]
) -> tuple[NDArray[np.bool_], Floats]:
    """Labels (N,) as bool and scores (N,) as float64, or an error that says what is wrong."""
    scores = np.asarray(probability, dtype=np.float64)
    if scores.ndim != 1 or scores.shape != np.shape(target):
        raise DataError(
            f"Labels of shape {np.shape(target)} and probabilities of shape {scores.shape} do not "
            f"fit: one label and one probability an entry are needed."
        )
    outside = int(np.count_nonzero(~((scores >= 0) & (scores <= 1))))
    if outside:
        raise DataError(
            f"{outside} of {len(scores)} probabilities are not in [0, 1] (NaN counts as such). "
            f"Leave out entries without a prediction, and give probabilities, not logits."
        )
    if not np.isin(target, (0, 1)).all():
        raise DataError("A label other than 0 and 1 was found: 1 is positive, 0 negative.")
    labels = np.asarray(target) == 1
    positives = int(labels.sum())
    if positives in (0, len(labels)):
        raise DataError(
            f"All {len(labels)} entries carry the same label; both classes are needed to score a "
            f"classifier. Look at the split."
        )
    return labels, scores


def _group_index(group: Sequence[str] | None, n: int) -> tuple[NDArray[np.intp], int]:
    """The group of each entry as a number 0..G-1, and G."""
    if group is None:
        return np.arange(n), n
    if len(group) != n:
        raise DataError(f"{len(group)} groups for {n} entries: one group an entry is needed.")
    names, index = np.unique(np.asarray(group, dtype=str), return_inverse=True)
    if len(names) < 2:
        raise DataError(
            f"All {n} entries belong to one group ('{names[0]}'), so no interval can be drawn from "
            f"groups. Give the patient of each entry, or none at all."
        )
    return index, len(names)


def _at(
    weights: Floats, labels: NDArray[np.bool_], called: NDArray[np.bool_]
) -> tuple[Floats, ...]:
    """Accuracy, sensitivity, specificity and F1, each (R,), of weights (R, N)."""
    cells = np.column_stack(
        (labels & called, labels & ~called, ~labels & called, ~labels & ~called)
    )
    hit, missed, false_alarm, cleared = (weights @ cells.astype(np.float64)).T
    with np.errstate(invalid="ignore", divide="ignore"):
        return (
            (hit + cleared) / (hit + missed + false_alarm + cleared),
            hit / (hit + missed),
            cleared / (cleared + false_alarm),
            2 * hit / (2 * hit + missed + false_alarm),
        )


class _Ranked:
    """Scores sorted once, so that the areas of any weighting are sums over tied scores."""

    def __init__(self, labels: NDArray[np.bool_], scores: Floats) -> None:
        self._order = np.argsort(-scores, kind="stable")
        descending = scores[self._order]
        self._ties = np.flatnonzero(np.r_[True, np.diff(descending) != 0])
        self._positive = labels[self._order]

    def areas(self, weights: Floats) -> tuple[Floats, Floats]:
        """AUROC and average precision, each (R,), of weights (R, N)."""
        ranked = weights[:, self._order]
        tied = np.add.reduceat(ranked, self._ties, axis=1)
        positive = np.add.reduceat(ranked * self._positive, self._ties, axis=1)
        negative = tied - positive
        above = np.cumsum(positive, axis=1)
        called = np.cumsum(tied, axis=1)
        positives = above[:, -1]
        with np.errstate(invalid="ignore", divide="ignore"):
            # A pair of equal scores counts half: the diagonal step of the curve.
            won = (negative * (above - positive / 2)).sum(axis=1)
            auroc = won / (positives * negative.sum(axis=1))
            precision = np.divide(above, called, out=np.zeros_like(above), where=called > 0)
            auprc = (positive * precision).sum(axis=1) / positives
        return auroc, auprc


def _draws(
    index: NDArray[np.intp], generator: np.random.Generator, rounds: int
) -> Iterator[Floats]:
    """Weights (R, N) of resamples, R at a time: how often each entry's group was drawn."""
    groups = int(index.max()) + 1
    size = max(1, _BLOCK // len(index))
    even = np.full(groups, 1 / groups)
    for start in range(0, rounds, size):
        drawn = generator.multinomial(groups, even, size=min(size, rounds - start))
        yield drawn.astype(np.float64)[:, index]


def _resample(
    measure: Callable[[Floats], Floats],
    labels: NDArray[np.bool_],
    index: NDArray[np.intp],
    generator: np.random.Generator,
    rounds: int,
) -> tuple[Floats, Floats, int]:
    """Measures (M,) of the set itself, those (R, M) of its resamples, and the rounds skipped."""
    value = measure(np.ones((1, len(labels))))[0]
    kept = []
    for weights in _draws(index, generator, rounds):
        positives = weights @ labels
        whole = (positives > 0) & (positives < weights.sum(axis=1))
        kept.append(measure(weights[whole]))
    drawn = np.concatenate(kept)
    if not len(drawn):
        raise DataError(
            f"In each of {rounds} resamples one class was missing: too few groups carry it. "
            f"More patients of the rarer class are needed."
        )
    return value, drawn, rounds - len(drawn)


def _estimates(value: Floats, drawn: Floats) -> list[Estimate]:
    low, high = np.percentile(drawn, _PERCENTILES, axis=0)
    return [
        Estimate(float(v), float(lo), float(hi)) for v, lo, hi in zip(value, low, high, strict=True)
    ]


def _cautions(
    labels: NDArray[np.bool_], index: NDArray[np.intp], estimates: Sequence[Estimate]
) -> tuple[str, ...]:
    cautions = []
    for name, members in (("positive", index[labels]), ("negative", index[~labels])):
        groups = len(np.unique(members))
        if groups < FEW_GROUPS:
            cautions.append(
                f"Only {groups} groups hold the {name} class: the intervals are likely too narrow."
            )
    flat = [n for n, e in zip(NAMES, estimates, strict=True) if e.low == e.high]
    if flat:
        cautions.append(
            f"No width in the interval of {', '.join(flat)}: resampling cannot show errors that "
            f"did not happen in this set."
        )
    return tuple(cautions)
