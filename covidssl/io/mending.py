"""Filling a grid from slices that do not lie on it: missing, uneven and tilted ones, linearly."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covidssl.io.gate import LOWEST_HU
from covidssl.io.series import Stack

ON_PLACE_MM = 1e-6
"""A slice no further from its place on the grid is taken as it is."""

Plane = Callable[[int], NDArray[np.int16]]


def grid_shape(stack: Stack) -> tuple[int, int, int]:
    """Slices, rows and columns of the grid; it is larger than a slice where tilts are taken out."""
    rows, columns = stack.headers[0].shape
    down, right = _most_shift(stack)
    return len(stack.targets), rows + ceil(abs(down)), columns + ceil(abs(right))


def fill(stack: Stack, grid: NDArray[np.int16], plane: Plane) -> None:
    """Put the slices on the grid; between two slices, and between pixels, values are interpolated.

    Values below air are taken for air where slices are moved, so that a constant outside the field
    of view mixes into nothing.

    Args:
        stack: where slices lie, and where they should.
        grid: shape `grid_shape(stack)`; is filled.
        plane: slice number -> its HU.
    """
    if np.array_equal(stack.targets, stack.along) and stack.drift == (0.0, 0.0):
        for index in range(len(grid)):
            grid[index] = plane(index)
        return
    upright = _Upright(stack, grid.shape[1:], plane)
    for index, target in enumerate(stack.targets):
        # The slice at or before the target; the last one has none behind it.
        before = int(np.searchsorted(stack.along, target + ON_PLACE_MM, side="right")) - 1
        before = min(max(before, 0), len(stack.along) - 1)
        rest = float(target - stack.along[before])
        if rest <= ON_PLACE_MM or before + 1 == len(stack.along):
            grid[index] = upright(before)
            continue
        share = np.float32(rest / float(stack.along[before + 1] - stack.along[before]))
        lower = np.maximum(upright(before), LOWEST_HU).astype(np.float32)
        upper = np.maximum(upright(before + 1), LOWEST_HU).astype(np.float32)
        grid[index] = np.rint(lower + share * (upper - lower))


class _Upright:
    """Slices moved to where the grid has them; the last two are kept."""

    def __init__(self, stack: Stack, shape: tuple[int, ...], plane: Plane) -> None:
        self._stack, self._shape, self._plane = stack, shape, plane
        self._kept: dict[int, NDArray[Any]] = {}

    def __call__(self, number: int) -> NDArray[np.int16]:
        if number not in self._kept:
            # Slices come in order: what lies before the last one is needed no more.
            self._kept = {old: kept for old, kept in self._kept.items() if old == number - 1}
            self._kept[number] = self._moved(number)
        return self._kept[number]

    def _moved(self, number: int) -> NDArray[np.int16]:
        plane = self._plane(number)
        if self._stack.drift == (0.0, 0.0):
            return plane.copy()
        distance = float(self._stack.along[number] - self._stack.along[0])
        most = _most_shift(self._stack)
        shift = [
            drift * distance - min(0.0, end)
            for drift, end in zip(self._stack.drift, most, strict=True)
        ]
        room = np.full(self._shape, LOWEST_HU, np.float32)
        room[: plane.shape[0], : plane.shape[1]] = np.maximum(plane, LOWEST_HU)
        moved = ndimage.shift(room, shift, order=1, mode="grid-constant", cval=LOWEST_HU)
        return np.asarray(np.rint(moved), dtype=np.int16)


def _most_shift(stack: Stack) -> tuple[float, float]:
    """Pixels (y, x) between the grid places of the first slice's corner and of the last one's."""
    span = float(stack.targets[-1] - stack.along[0])
    return stack.drift[0] * span, stack.drift[1] * span
