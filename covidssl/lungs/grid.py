"""A coarser grid on which whole scans are worked on, and the way back to the scan's own."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
HU = NDArray[np.float32]

_PLANE = 180  # most pixels along a side: 2 mm each across a chest
_SLICES = 120
_THICKEST_MM = 5.0
CHEST_MM = 340.0
"""Width of a picture that holds a chest, for scans whose spacing nobody knows."""


class Grid(NamedTuple):
    """A grid of blocks of voxels.

    Attributes:
        shape: of the scan, (Z, Y, X).
        factors: voxels of the scan in one of the grid, (z, y, x).
        spacing_mm: of the grid's voxels, (z, y, x); across a slice a guess where not known.
    """

    shape: tuple[int, int, int]
    factors: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    @classmethod
    def of(cls, shape: tuple[int, ...], spacing_mm: tuple[float, float, float] | None) -> Grid:
        """The grid for a scan."""
        depth, rows, columns = shape
        across = -(-max(rows, columns) // _PLANE)
        along = -(-depth // _SLICES)
        if spacing_mm is None:
            pixel = CHEST_MM / max(rows, columns)
            # Thin slices where there are many: a chest is some 350 mm high.
            spacing_mm = (min(8.0, max(1.0, 350.0 / depth)), pixel, pixel)
        z_mm, y_mm, x_mm = spacing_mm
        along = min(along, max(1, int(_THICKEST_MM / z_mm)))
        factors = (along, across, across)
        return cls((depth, rows, columns), factors, (z_mm * along, y_mm * across, x_mm * across))

    def coarse(self, array: NDArray[np.generic]) -> HU:
        """Means of blocks, float32; blocks over the end repeat the last voxel."""
        mean: NDArray[Any] = np.asarray(array)
        for axis, factor in enumerate(self.factors):
            if factor == 1:
                continue
            short = -mean.shape[axis] % factor
            if short:
                mean = np.pad(mean, [(0, short if k == axis else 0) for k in range(3)], "edge")
            total = _every(mean, axis, 0, factor).astype(np.float32)
            for first in range(1, factor):
                total += _every(mean, axis, first, factor)
            mean = total / np.float32(factor)
        return mean.astype(np.float32, copy=False)

    def fine(self, array: NDArray[Any]) -> NDArray[Any]:
        """Blocks of the grid spread over the scan's voxels."""
        for axis, factor in enumerate(self.factors):
            if factor > 1:
                array = np.repeat(array, factor, axis=axis)
        depth, rows, columns = self.shape
        return array[:depth, :rows, :columns]


def _every(array: NDArray[Any], axis: int, first: int, step: int) -> NDArray[Any]:
    return array[tuple(slice(first, None, step) if k == axis else slice(None) for k in range(3))]
