"""AUROC, average precision and Dice of a score's pixels, with intervals over runs of slices."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from covidssl.metrics import Estimate
from covidssl.metrics.resampling import draws, interval
from covidssl.randomness import numpy_generator
from pipelines.localising.cases import Marked, Values

ROUNDS = 1000
LEAST_MARKED = 100
"""Marked pixels; with fewer (case 6) nothing is said of how well they are found."""

_STREAM = 302
_BINS = 1000

Floats = NDArray[np.float64]


class Measured(NamedTuple):
    """What a score is worth on a case.

    Attributes:
        auroc, ap: over all pixels of the lungs.
        dice: at the threshold fixed beforehand; None where there is none.
        best_dice: at the threshold that the case's own labels choose: flattering.
        drawn_ap: (R,) average precision of every resample, for paired differences.
    """

    auroc: Estimate
    ap: Estimate
    dice: Estimate | None
    best_dice: Estimate
    drawn_ap: Floats


def measure(score: Values, marked: Marked, threshold: float | None) -> Measured:
    """Measures of a score (N,) over the pixels of a case.

    Intervals are 95 % percentiles over resamples of whole runs of neighbouring slices, the same
    resamples for every score of a case. In them a score counts by its bin: 1000 bins of equal
    numbers of pixels, and 1000 of marked ones; what that changes of the value itself is taken off
    the resamples. Resamples without a marked pixel are left out.
    """
    counts = _counts(score, marked)
    rounds = np.concatenate(list(draws(np.arange(len(counts.hit)), _generator(), ROUNDS)))
    hit, miss = rounds @ counts.hit, rounds @ counts.miss
    whole = hit.sum(1) > 0
    hit, miss = hit[whole], miss[whole]
    lesion = marked.lesion
    ap = float(average_precision_score(lesion, score))
    auroc = float(roc_auc_score(lesion, score))
    all_hit, all_miss = counts.hit.sum(0)[None], counts.miss.sum(0)[None]
    drawn_ap = _about(ap, _average_precision(all_hit, all_miss), _average_precision(hit, miss))
    best = _dices(all_hit, all_miss)[0]
    at = int(best.argmax())
    found = None
    if threshold is not None:
        above = score > threshold
        found = _dice_at(above, marked, rounds[whole])
    return Measured(
        interval(auroc, _about(auroc, _area(all_hit, all_miss), _area(hit, miss))),
        interval(ap, drawn_ap),
        found,
        interval(float(best[at]), _dices(hit, miss)[:, at]),
        drawn_ap,
    )


def difference(one: Measured, other: Measured) -> Estimate:
    """How much higher the average precision of the first is, on the same resamples."""
    return interval(one.ap.value - other.ap.value, one.drawn_ap - other.drawn_ap)


def best_threshold(score: Values, target: NDArray[np.bool_]) -> tuple[float, float]:
    """The threshold that gives the highest Dice, and that Dice; a score above it is a lesion."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(target[order])
    dice = 2 * hits / (np.arange(1, len(order) + 1) + hits[-1])
    # Equal scores are called together or not at all.
    dice[:-1][np.diff(score[order]) == 0] = 0.0
    at = int(dice.argmax())
    below = float(score[order[min(at + 1, len(order) - 1)]])
    return (float(score[order[at]]) + below) / 2, float(dice[at])


class _Counts(NamedTuple):
    """Marked and other pixels by run and bin, (G, B), the highest bin first."""

    hit: Floats
    miss: Floats


def _counts(score: Values, marked: Marked) -> _Counts:
    share = np.linspace(0, 1, _BINS + 1)[1:-1]
    edges = np.unique(
        np.concatenate([np.quantile(score, share), np.quantile(score[marked.lesion], share)])
    )
    bins = len(edges) + 1
    # From the highest down: the first bin is what any threshold calls first.
    place = bins - 1 - np.searchsorted(edges, score, side="left")
    flat = marked.run * bins + place
    runs = int(marked.run.max()) + 1
    hit = np.bincount(flat[marked.lesion], minlength=runs * bins).reshape(runs, bins)
    miss = np.bincount(flat[~marked.lesion], minlength=runs * bins).reshape(runs, bins)
    return _Counts(hit.astype(np.float64), miss.astype(np.float64))


def _about(value: float, binned: Floats, drawn: Floats) -> Floats:
    """Resamples (R,), moved by as much as the bins move the value itself."""
    moved: Floats = (drawn + (value - binned)).clip(0, 1)
    return moved


def _average_precision(hit: Floats, miss: Floats) -> Floats:
    hits, misses = hit.cumsum(1), miss.cumsum(1)
    precision = hits / np.maximum(hits + misses, 1)
    found: Floats = (hit * precision).sum(1) / hits[:, -1]
    return found


def _area(hit: Floats, miss: Floats) -> Floats:
    before = hit.cumsum(1) - hit / 2
    found: Floats = (miss * before).sum(1) / (hit.sum(1) * miss.sum(1))
    return found


def _dices(hit: Floats, miss: Floats) -> Floats:
    """(R, B) Dice of the pixels down to each bin."""
    hits, called = hit.cumsum(1), (hit + miss).cumsum(1)
    found: Floats = 2 * hits / (called + hits[:, -1:])
    return found


def _dice_at(above: NDArray[np.bool_], marked: Marked, rounds: Floats) -> Estimate:
    runs = rounds.shape[1]
    both, called, all_marked = (
        np.bincount(marked.run[which], minlength=runs).astype(np.float64)
        for which in (above & marked.lesion, above, marked.lesion)
    )
    drawn = 2 * (rounds @ both) / (rounds @ called + rounds @ all_marked)
    value = 2 * both.sum() / (called.sum() + all_marked.sum())
    return interval(float(value), drawn)


def _generator() -> np.random.Generator:
    return numpy_generator(_STREAM)
