"""Phantom chests with what makes lungs hard to find, and the truth about them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from covidssl.hounsfield import Pixels
from covidssl.phantom import PhantomScan, phantom_chest
from covidssl.volume import Volume

Mask = NDArray[np.bool_]
SHAPE, SPACING_MM = (48, 144, 144), (5.0, 2.4, 2.4)


def chest(seed: int = 3) -> PhantomScan:
    """A healthy chest of 24 cm height."""
    return phantom_chest(seed, lesions=False, shape=SHAPE, spacing_mm=SPACING_MM)


def truth(scan: PhantomScan) -> Mask:
    return np.asarray(scan.lungs.array) > 0


def right_half(scan: PhantomScan) -> Mask:
    """The picture's left half, where the patient's right lung lies."""
    half = np.zeros(scan.ct.array.shape, dtype=np.bool_)
    half[:, :, : half.shape[2] // 2] = True
    return half


def with_hu(scan: PhantomScan, where: Mask, hu: float) -> Volume:
    """The scan with other tissue somewhere, noise included."""
    array = np.asarray(scan.ct.array).copy()
    noise = np.random.default_rng(0).normal(0, 10, int(where.sum()))
    array[where] = np.rint(hu + noise).astype(np.int16)
    return replace(scan.ct, array=array)


def windowed(ct: Volume) -> Volume:
    """The scan through the window -1000..400 HU, and nobody knows its spacing."""
    grey = np.rint(np.clip((np.asarray(ct.array, np.float32) + 1000) / 1400, 0, 1) * 255)
    return replace(
        ct, array=grey.astype(np.uint8), pixels=Pixels.WINDOWED, spacing_mm=(1.0, 1.0, 1.0)
    )


def consolidated_back(scan: PhantomScan) -> Mask:
    """The dependent third of the right lung, in the middle third of the chest's height."""
    lung = truth(scan) & right_half(scan)
    z, y, _ = np.nonzero(lung)
    back = np.zeros_like(lung)
    low, high = np.quantile(z, [0.3, 0.6]).astype(int)
    back[low:high, int(np.quantile(y, 0.72)) :] = True
    return lung & back


def dice(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Dice: 1 where both agree everywhere."""
    return float(2 * np.sum((one > 0) & (other > 0)) / (np.sum(one > 0) + np.sum(other > 0)))
