"""What records are worth: scores, differences and tests that resample whole groups of images.

How every number of a table is made, and what it does not say:

- A *pooled* score is taken of the chances of all folds together, each image scored out of fold.
  It mixes the scales of five models: where one fold's chances lie higher than another's, pooled
  AUROC is too low. The *mean of folds* compares images within a fold alone; tables give both.
- Several draws of few labels, or several seeds, are averaged within a resample: the score is the
  mean of theirs, never the score of their mean.
- Accuracy, precision (`ppv`), recall (`sensitivity`) and F1 are at a chance of 0.5, as fitted:
  no threshold is tuned on any set.
- Intervals are 95 % percentiles of 1000 resamples of whole groups (patients, or runs of 20
  neighbouring files where none is known); all arms are seen on the same resamples. They tell what
  other patients might have given to these very models. They do not hold the variance of training
  anew: of the seed of pretraining, of the draw of labels (`each` shows the scores one by one), of
  other patients to learn from (Y. Bengio and Y. Grandvalet, JMLR 2004).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from covidssl.errors import DataError
from covidssl.metrics import Estimate, Metric, holm
from covidssl.metrics.labelled import Floats
from covidssl.metrics.resampling import interval
from pipelines.study.folds import groups_of_rarer
from pipelines.study.grouped import mean_drawn, scored_rows
from pipelines.study.records import Cell, Found, Images, Record

METRICS: tuple[Metric, ...] = ("accuracy", "ppv", "sensitivity", "f1", "auroc")
METRIC_WORDS: Mapping[Metric, str] = {
    "accuracy": "accuracy",
    "ppv": "precision",
    "sensitivity": "recall",
    "f1": "F1",
    "auroc": "AUROC",
}

LIMITS = (
    "Intervals: 95 %, 1000 resamples of whole groups, which stand for patients (in COVID-CT the "
    "pieces of one figure where file names tell them; else runs of 20 neighbouring files), the "
    "same for all rows. They hold for the models that were trained: "
    "another seed of pretraining, other draws of labels or other patients to learn from may move "
    "a number by more. Draws and seeds are averaged. A chance of 0.5 or more is called COVID."
)
"""To be said below every table of such numbers."""

TESTED = (
    "p: two-sided, of the difference over its standard error (the deviation over the same 1000 "
    "resamples of groups; Student's t), corrected by Holm for the rows of one table. It is that of "
    "these draws of the labels and of one pretraining an arm: others may give another. Single "
    "draws: the lowest and the highest difference over the draws, each alone."
)
"""To be said below a table with p-values, after `LIMITS`."""

PROBE = "probe"
"""The protocol that stands where too few groups are there to choose on."""

KERNEL = "kernel probe"
"""The other way to use labels that leaves the encoder as it is."""

FROZEN: tuple[str, ...] = (PROBE, KERNEL)
"""Protocols that leave the encoder as it is."""


def are_frozen(protocols: Iterable[str]) -> bool:
    """Whether all of these protocols leave the encoder as it is."""
    return set(protocols) <= set(FROZEN)


class Compared(NamedTuple):
    """One model against another on the same images.

    Attributes:
        difference: of the first less the second, with its interval.
        p_value: two-sided, of this comparison alone.
        corrected: the same after Holm's correction for all comparisons made beside it.
    """

    difference: Estimate
    p_value: float
    corrected: float


def pooled(images: Images, founds: Sequence[Found], metric: Metric = "auroc") -> Estimate:
    """Mean over draws and seeds of a metric of the pooled out-of-fold chances.

    Args:
        images: label, group and fold of each image.
        founds: of one model, an entry a draw and seed.
        metric: what is counted; at a threshold of 0.5 where it needs one.

    Raises:
        DataError: when there is none, or they score different images, or a class is absent.
    """
    values = mean_drawn(images, founds, metric, scored_rows(founds))
    return interval(float(values[0]), values[1:])


def mean_of_folds(images: Images, founds: Sequence[Found], metric: Metric = "auroc") -> Estimate:
    """Mean over folds, draws and seeds of a metric of each fold on its own.

    Unlike the pooled score it compares no chances of different models.

    Raises:
        DataError: as `pooled`.
    """
    values = mean_drawn(images, founds, metric, scored_rows(founds), by_fold=True)
    return interval(float(values[0]), values[1:])


def each(images: Images, founds: Sequence[Found], metric: Metric = "auroc") -> tuple[float, ...]:
    """The pooled metric of every draw and seed on its own: how far apart trainings come out."""
    rows = scored_rows(founds)
    return tuple(float(mean_drawn(images, [one], metric, rows)[0]) for one in founds)


def difference(
    images: Images, a: Sequence[Found], b: Sequence[Found], metric: Metric = "auroc"
) -> Estimate:
    """The pooled metric of a less that of b, on the same resamples of groups.

    Raises:
        DataError: as `pooled`, of both together.
    """
    values = _differences(images, a, b, metric)
    return interval(float(values[0]), values[1:])


def by_draws(
    images: Images,
    a: Mapping[int, Sequence[Found]],
    b: Mapping[int, Sequence[Found]],
    metric: Metric = "auroc",
) -> tuple[float, ...]:
    """The difference of a and b on every draw of labels alone: does it hang on one of them?

    Args:
        images: of the set.
        a, b: answers of both models by draw, of the same draws.
        metric: what is compared.
    """
    means = [[np.mean(each(images, of[draw], metric)) for of in (a, b)] for draw in sorted(a)]
    return tuple(float(one - other) for one, other in means)


def p_value(
    images: Images, a: Sequence[Found], b: Sequence[Found], metric: Metric = "auroc"
) -> float:
    """Two-sided p of the difference of a and b: is it more than other groups would change?

    The difference is held against its standard error, the deviation of the differences of the
    resamples, and Student's t with one degree less than the rarer class has groups (B. Efron and
    R. J. Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 12). Taken so, and not
    as the share of resamples beyond zero, p is not bounded by the number of resamples, which a
    correction for many arms would run into; it serves every metric and any number of draws, which a
    permutation of two classifiers' ranks does not; and for one draw's AUROC it agrees with DeLong's
    test by groups (N. A. Obuchowski, Biometrics 1997). It is never below 2 / 2^G, which is what
    swapping the answers of G whole groups could show at best.

    Raises:
        DataError: as `difference`.
    """
    rows = scored_rows([*a, *b])
    values = _differences(images, a, b, metric)
    least = 2.0 ** (1 - len(np.unique(images.group[rows])))
    return max(least, _t_test(values, groups_of_rarer(images.target, images.group, rows) - 1))


def against(
    images: Images,
    one: Sequence[Found],
    others: Mapping[str, Sequence[Found]],
    metric: Metric = "auroc",
) -> dict[str, Compared]:
    """One model against each of several, p corrected for their number by Holm.

    Args:
        images: of the set.
        one: of the model.
        others: of the models it is held against, by name.
        metric: what is compared.
    """
    p = [p_value(images, one, other, metric) for other in others.values()]
    return {
        name: Compared(difference(images, one, other, metric), alone, float(corrected))
        for (name, other), alone, corrected in zip(others.items(), p, holm(p), strict=True)
    }


def founds_of(
    record: Record, protocol: str, fraction: float, draws: Collection[int] | None = None
) -> list[Found]:
    """All draws and seeds of one protocol at one share of the labels.

    Args:
        record: of an arm.
        protocol: as its cells name it.
        fraction: of the labels.
        draws: only these, where another model was made of fewer; None: all.

    Raises:
        DataError: when the record has none.
    """
    return [record.cells[cell] for cell in _cells(record, protocol, fraction, draws)]


def protocols_of(record: Record, fraction: float) -> tuple[str, ...]:
    """The protocols that a record has at a share of the labels, in their order there.

    Raises:
        DataError: when it has none.
    """
    found = dict.fromkeys(cell.protocol for cell in record.cells if cell.fraction == fraction)
    if not found:
        raise DataError(
            f"{record.facts.file}: no model of {fraction:g} of the labels is recorded. Expected "
            f"one at least: run the study anew."
        )
    return tuple(found)


def _cells(
    record: Record, protocol: str, fraction: float, draws: Collection[int] | None
) -> list[Cell]:
    found = [
        cell
        for cell in sorted(record.cells)
        if (cell.protocol, cell.fraction) == (protocol, fraction)
        and (draws is None or cell.draw in draws)
    ]
    if not found:
        raise DataError(
            f"{record.facts.file}: no model of protocol '{protocol}' at {fraction:g} of the labels "
            f"is recorded. It holds: {', '.join(cell.column for cell in record.cells)}."
        )
    return found


def _differences(images: Images, a: Sequence[Found], b: Sequence[Found], metric: Metric) -> Floats:
    scored_rows(a), scored_rows(b)
    rows = scored_rows([*a, *b])
    return mean_drawn(images, a, metric, rows) - mean_drawn(images, b, metric, rows)


def _t_test(values: Floats, freedom: int) -> float:
    """Two-sided p of the first value against 0, by the deviation of the others."""
    error = float(np.nanstd(values[1:], ddof=1))
    if values[0] == 0:
        return 1.0
    if error == 0:
        return 0.0
    return float(2 * student.sf(abs(values[0]) / error, max(1, freedom)))
