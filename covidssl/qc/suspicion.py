"""How much a scan of a store asks to be looked at: one stated score."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.manifest import ManifestRow

ORDER = ("failed", "flagged", "dropped", "repaired", "warned", "ok", "passed_over")
"""Statuses, the most suspicious first."""

_STEP = 100
_MOST = 99.0
_A_DEVIATION = 10
_UNUSUAL = 3.0
_FEWEST = 8  # of fewer scans nobody can say what is usual

# A median absolute deviation by this is a standard deviation, if values are normal.
_NORMAL = 1.4826
_LEAST_DEVIATION = 0.01


class Suspicion(NamedTuple):
    """Of one scan.

    Attributes:
        score: 100 times the place of its status, from 600 for failed to 0 for passed over, and 10
            for every deviation of its most unusual number, 99 at most.
        unusual: numbers that lie more than 3 deviations off the store's median, in plain words.
    """

    score: float
    unusual: tuple[str, ...]


def suspicions(rows: Sequence[ManifestRow]) -> list[Suspicion]:
    """Score every row by its status and by what is unusual in this store.

    Compared are the lung volume, the ratio of left to right lung (both by their logarithms) and the
    share of slices with lung. The deviation is 1.4826 times the median absolute deviation, and at
    least 0.01; a number that fewer than 8 scans have is not compared.
    """
    deviations = {name: _deviations([of(row) for row in rows]) for name, of in _COMPARED.items()}
    found = []
    for place, row in enumerate(rows):
        off = {name: float(values[place]) for name, values in deviations.items()}
        known = {name: value for name, value in off.items() if math.isfinite(value)}
        most = max(map(abs, known.values()), default=0.0)
        unusual = tuple(
            f"{name} {abs(value):.1f} deviations {'above' if value > 0 else 'below'} the median"
            for name, value in known.items()
            if abs(value) > _UNUSUAL
        )
        status = len(ORDER) - 1 - ORDER.index(row.status)
        found.append(Suspicion(_STEP * status + min(_MOST, _A_DEVIATION * most), unusual))
    return found


def _volume(row: ManifestRow) -> float:
    return math.log(row.lung_ml) if row.lung_ml else math.nan


def _ratio(row: ManifestRow) -> float:
    return math.log(row.left_right) if row.left_right else math.nan


def _share(row: ManifestRow) -> float:
    # A single picture shows lung or it is dropped: its share says nothing.
    if row.slices_with_lung is None or not row.slices or row.slices == 1:
        return math.nan
    return row.slices_with_lung / row.slices


_COMPARED: dict[str, Callable[[ManifestRow], float]] = {
    "lung volume": _volume,
    "left to right": _ratio,
    "share of slices with lung": _share,
}


def _deviations(values: Sequence[float]) -> NDArray[np.float64]:
    """Robust z-scores; NaN where a value is not known or too few are."""
    given = np.asarray(values, dtype=np.float64)
    if np.isfinite(given).sum() < _FEWEST:
        return np.full(len(given), np.nan)
    middle = float(np.nanmedian(given))
    spread = _NORMAL * float(np.nanmedian(np.abs(given - middle)))
    return np.asarray((given - middle) / max(spread, _LEAST_DEVIATION))
