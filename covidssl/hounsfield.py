"""What a pixel value means, and the way from it to the units of a network.

Two kinds of pixel are first-class: Hounsfield units, and 8-bit slices that somebody has windowed
already, through a window that may not be known. They are told apart by the reader, never guessed
from the values later.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Window = tuple[float, float]
"""Lower and upper end in HU; values outside are clipped."""

LUNG_WINDOW_HU: Window = (-1000.0, 400.0)
"""The window of the LUNA16 slices, and what an 8-bit slice of unknown window is taken for."""

AIR_HU = -1000.0


class Pixels(StrEnum):
    """The kind of a pixel value."""

    HU = "hu"
    """Hounsfield units."""
    WINDOWED = "windowed"
    """0..255, windowed by somebody, the window perhaps unknown."""


def hu_to_unit(hu: NDArray[np.generic], window: Window = LUNG_WINDOW_HU) -> NDArray[np.float32]:
    """Clip HU to `window` and map it linearly to [0, 1] (float32, same shape)."""
    low, high = window
    unit: NDArray[np.float32] = (np.asarray(hu, dtype=np.float32) - low) / (high - low)
    return np.clip(unit, 0.0, 1.0)


def windowed_to_unit(grey: NDArray[np.generic]) -> NDArray[np.float32]:
    """Map 8-bit grey values 0..255 to [0, 1] (float32, same shape)."""
    return np.asarray(grey, dtype=np.float32) / np.float32(255.0)


def to_unit(
    array: NDArray[np.generic], pixels: Pixels, window: Window = LUNG_WINDOW_HU
) -> NDArray[np.float32]:
    """Network units in [0, 1] of pixels of either kind (float32, same shape).

    `window` (HU) is used for HU alone: a windowed slice has had its window applied already.
    """
    if pixels is Pixels.HU:
        return hu_to_unit(array, window)
    return windowed_to_unit(array)
