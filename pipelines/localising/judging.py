"""Every score of a case measured beside the bar, with and without faint ground glass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_opening

from covidssl.maps.lesion import THICK_MM, Looked, through_window
from covidssl.metrics import Estimate
from pipelines.localising.cases import Case, Marked, Values
from pipelines.localising.measuring import LEAST_MARKED, Measured, difference, measure
from pipelines.localising.scores import brightness, smooth
from pipelines.localising.thresholds import DENSE_HU

FAINT_FROM_HU = -730.0
"""Lung denser than this and less dense than `DENSE_HU`, in patches wider than vessels, is taken for
faint ground glass where nothing is marked. Fixed on cases 1 and 3."""

DIGITS = 6


class Bar(NamedTuple):
    """A case's pixels (N,) and the trivial rival's score of them.

    Attributes:
        marked: which are lesion, and the run of slices of each.
        clear: which are marked, or no faint ground glass.
        score: the smoothed brightness.
        measured: what that is worth; None where hardly anything is marked.
    """

    marked: Marked
    clear: NDArray[np.bool_]
    score: Values
    measured: Measured | None


def bar_of(case: Case, looked: Looked) -> Bar:
    """The pixels of a case, and its bar."""
    marked = Marked(case.lesion, case.run)
    faint = case.placed(_faint(looked)) > 0.5
    score = case.inside(brightness(case.grey))
    told = int(marked.lesion.sum()) >= LEAST_MARKED
    measured = measure(score, marked, None) if told else None
    return Bar(marked, marked.lesion | ~faint, score, measured)


def judged(threshold: float | None) -> dict[str, Any]:
    """The part of a record that a score has, no case in it yet."""
    rounded = None if threshold is None else round(threshold, DIGITS)
    return {"threshold": rounded, "cases": {}}


def rows_of_case(
    found: Mapping[str, dict[str, Any]], number: int, scores: Mapping[str, Values], bar: Bar
) -> None:
    """Measure every score of a case, and put a row into each score's part of the record."""
    for name, score in scores.items():
        threshold = found[name]["threshold"]
        found[name]["cases"][str(number)] = _row(score, bar, threshold)


def pixels_of(bar: Bar) -> dict[str, Any]:
    """How many pixels of a case are judged, marked, and taken for faint ground glass."""
    lesion = bar.marked.lesion
    return {
        "pixels": len(lesion),
        "marked": int(lesion.sum()),
        "faint_unmarked": int((~bar.clear).sum()),
        "runs_of_slices": int(bar.marked.run.max()) + 1,
    }


def _row(score: Values, bar: Bar, threshold: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if threshold is not None:
        row["above_percent"] = round(100 * float((score > threshold).mean()), DIGITS)
    if bar.measured is None:
        return row
    found = measure(score, bar.marked, threshold)
    kept = Marked(bar.marked.lesion[bar.clear], bar.marked.run[bar.clear])
    clear = measure(score[bar.clear], kept, threshold)
    return row | {
        "auroc": said(found.auroc),
        "ap": said(found.ap),
        "dice": said(found.dice),
        "best_dice": said(found.best_dice),
        "ap_over_brightness": said(difference(found, bar.measured)),
        "without_faint": {"ap": said(clear.ap), "dice": said(clear.dice)},
    }


def said(estimate: Estimate | None) -> dict[str, float] | None:
    """An estimate as a record holds it."""
    if estimate is None:
        return None
    return {name: round(value, DIGITS) for name, value in estimate._asdict().items()}


def _faint(looked: Looked) -> Values:
    """(Z, size, size) 1 where lung is somewhat too dense, in patches wider than `THICK_MM`."""
    low, high = looked.window_hu
    hu = low + smooth(through_window(looked).frames) / 65535 * (high - low)
    between = (hu > FAINT_FROM_HU) & (hu <= DENSE_HU) & (looked.inside >= 0.5)
    edge = max(2, round(THICK_MM / looked.pixel_mm))
    opened = binary_opening(between, np.ones((1, edge, edge), dtype=bool))
    return np.asarray(opened, dtype=np.float32)
