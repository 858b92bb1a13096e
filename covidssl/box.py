"""Where the lungs of a scan lie: a rectangle of pixels, and the slices that show them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Box(NamedTuple):
    """A rectangle of pixels, rows `top:bottom` and columns `left:right`."""

    top: int
    bottom: int
    left: int
    right: int


def lungs_box(lungs: NDArray[np.bool_]) -> Box | None:
    """The rectangle around a mask (Z, Y, X), over all its slices; None when it is empty."""
    rows = np.flatnonzero(lungs.any(axis=(0, 2)))
    columns = np.flatnonzero(lungs.any(axis=(0, 1)))
    if rows.size == 0:
        return None
    return Box(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


class Region(NamedTuple):
    """A block of voxels of a scan.

    Attributes:
        slices: which ones, without a gap.
        box: of each of them.
    """

    slices: range
    box: Box


def lungs_region(lungs: NDArray[np.bool_]) -> Region | None:
    """The block around a mask (Z, Y, X); None when it is empty."""
    box, slices = lungs_box(lungs), span_of(np.asarray(lungs.any(axis=(1, 2))))
    return None if box is None or slices is None else Region(slices, box)


def span_of(shown: NDArray[np.bool_]) -> range | None:
    """From the first to the last slice of (Z,) that shows something; None when none does."""
    places = np.flatnonzero(shown)
    return range(int(places[0]), int(places[-1]) + 1) if places.size else None
