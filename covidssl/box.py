"""A rectangle of pixels, and the one about the lungs of a scan."""

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
