"""Filters stated in cycles per mm, so that what they do does not depend on the size of a pixel."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from covidssl.robustness.scale import Plane, Scale, each_plane
from covidssl.volume import Volume

Response = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.floating]]
"""From frequencies along y (H, 1) and x (1, W) in cycles per mm to what is left of each (H, W)."""


def filtered(ct: Volume, scale: Scale, reach_mm: float, response: Response) -> Volume:
    """A scan whose slices went through a filter.

    Args:
        ct: of either kind.
        scale: of its voxels.
        reach_mm: how far a pixel is felt; so wide a margin is mirrored at the borders.
        response: the filter.
    """
    _, height, width = ct.array.shape
    top, left = (math.ceil(reach_mm / edge) for edge in (scale.y, scale.x))
    rows = fft.next_fast_len(height + 2 * top, real=False)
    columns = fft.next_fast_len(width + 2 * left, real=True)
    along = fft.fftfreq(rows, scale.y)[:, None], fft.rfftfreq(columns, scale.x)[None]
    gain = response(*along).astype(np.float32)
    margin = ((top, rows - height - top), (left, columns - width - left))

    def alter(plane: Plane, _z: int) -> Plane:
        wide = fft.rfft2(np.pad(plane, margin, mode="symmetric"))
        found = fft.irfft2(wide * gain, s=(rows, columns))
        return np.asarray(found[top : top + height, left : left + width], dtype=np.float32)

    return each_plane(ct, alter)
