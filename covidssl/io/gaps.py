"""Distances between the slices of a stack: which are odd, and what may be put in between."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAME_PLACE_MM = 0.01
MOST_MISSING_TOGETHER = 2
MOST_MISSING = 0.05
_UNEVEN = 0.1
_MOST_TRUNCATED_INSIDE = 2
_WHOLE = 0.2


def odd_gaps(along: NDArray[np.float64]) -> tuple[float, NDArray[np.intp]]:
    """The usual distance of places in order (mm), and which distances are more than 10 % off it."""
    gaps = np.diff(along)
    # The lower median: of two gaps, the wider one is the suspect.
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    return usual, np.flatnonzero(np.abs(gaps - usual) > _UNEVEN * usual)


def lacking_in(gaps: NDArray[np.float64], usual: float) -> NDArray[np.intp]:
    """How many slices each gap lacks."""
    # Places may be anything, and no series lacks a million.
    return np.clip(np.rint(gaps / usual), 1, 1e6).astype(np.intp) - 1


def are_whole(gaps: NDArray[np.float64], usual: float) -> bool:
    """Whether all gaps are those of whole slices that are missing."""
    steps = gaps / usual
    return bool(np.all(np.rint(steps) >= 2) and np.all(np.abs(steps - np.rint(steps)) < _WHOLE))


def may_be_filled(lacking: NDArray[np.intp], present: int, truncated: int) -> bool:
    """Whether so many slices may be interpolated.

    Args:
        lacking: slices that each gap lacks.
        present: slices that are there.
        truncated: how many of those that lack were there, but damaged.
    """
    missing = int(lacking.sum())
    # One or two damaged files are mended in a short series too.
    allowed = MOST_MISSING * (present + missing)
    if truncated <= _MOST_TRUNCATED_INSIDE:
        allowed = max(allowed, truncated)
    return int(lacking.max()) <= MOST_MISSING_TOGETHER and missing <= allowed


def with_holes(
    along: NDArray[np.float64], gaps: NDArray[np.intp], lacking: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Places of all slices, those that lack among them: `lacking` behind each of `gaps`."""
    parts, start = [], 0
    for gap, count in zip(gaps, lacking, strict=True):
        parts.append(along[start : gap + 1])
        parts.append(np.linspace(along[gap], along[gap + 1], count + 2)[1:-1])
        start = gap + 1
    return np.concatenate([*parts, along[start:]])


def evened(
    along: NDArray[np.float64], usual: float, uneven: int, missing: int
) -> tuple[NDArray[np.float64], str]:
    """Places at even distances over the same length, and what that is called as a repair."""
    gaps = np.diff(along)
    count = int((along[-1] - along[0]) / usual + 1e-6) + 1
    told = (
        f"resampled to an even spacing of {usual:.4g} mm, from {gaps.min():.4g} to "
        f"{gaps.max():.4g} mm, uneven in {uneven} places"
    )
    if missing:
        told += f", with {missing} missing slice{'s' * (missing > 1)} interpolated"
    return along[0] + usual * np.arange(count), told
