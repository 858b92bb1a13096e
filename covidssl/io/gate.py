"""What the values mean: the format decides, the gate checks, and nothing is guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.hounsfield import Pixels
from covidssl.io.raw import RawScan

LOWEST_HU = -1024
HIGHEST_HU = 3071
_AIR_BELOW_HU = -500
_LEAST_AIR = 0.005
_ABSURD_HIGH_HU = 4000
_ABSURD_LOW_HU = -1200
_MOST_ABSURD = 0.01
_REMEDY = "give the image as Hounsfield units, or say that it is windowed grey values"


def settle(raw: RawScan, pixels: Pixels | None, source: str) -> tuple[NDArray[Any], Pixels]:
    """Values and their kind, after the checks.

    Args:
        raw: the scan as its format's reader gave it.
        pixels: the caller's word, which overrides the format's; None to go by the format.
        source: the scan's name for messages.

    Returns:
        int16 HU in -1024..3071, or uint8 grey values.

    Raises:
        ScanError: when the values cannot be what they are said to be.
    """
    if raw.array.dtype.kind not in "biuf":
        raise ScanError(
            f"{source}: the voxels are of type {raw.array.dtype}; a CT holds one number a voxel."
        )
    if raw.array.dtype.kind == "f" and not np.isfinite(raw.array).all():
        share = 1.0 - float(np.isfinite(raw.array).mean())
        raise ScanError(
            f"{source}: {share:.2%} of the voxels are NaN or infinite. "
            f"Fill them with air (-1024 HU) and try again."
        )
    kind = pixels or (Pixels.WINDOWED if raw.grey else Pixels.HU)
    if kind is Pixels.WINDOWED:
        return _as_grey(raw.array, source), kind
    return _as_hu(raw.array, source), kind


def _as_grey(array: NDArray[Any], source: str) -> NDArray[np.uint8]:
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 255 or (array.dtype.kind == "f" and high <= 1):
        raise ScanError(
            f"{source}: said to be windowed grey values, which are 0..255, but holds "
            f"{low:g}..{high:g}. Scale it to 0..255, or read it as Hounsfield units."
        )
    _refuse_mask(array, source)
    return np.asarray(array if array.dtype.kind in "bu" else np.rint(array), dtype=np.uint8)


def _as_hu(array: NDArray[Any], source: str) -> NDArray[np.int16]:
    _refuse_mask(array, source)
    _refuse_other_scales(float(array.min()), float(array.max()), source)
    _refuse_absurd(array, source)
    air = float(np.mean(array < _AIR_BELOW_HU))
    if air < _LEAST_AIR or float(array.min()) > -200:
        raise ScanError(
            f"{source}: only {air:.2%} of the voxels are air (below {_AIR_BELOW_HU} HU; the lowest "
            f"is {float(array.min()):g}); a chest CT has far more. These are no Hounsfield units, "
            f"or no chest: {_REMEDY}."
        )
    clipped = np.clip(array, LOWEST_HU, HIGHEST_HU)
    return np.asarray(clipped if array.dtype.kind in "iu" else np.rint(clipped), dtype=np.int16)


def _refuse_mask(array: NDArray[Any], source: str) -> None:
    # Looking at some thousand voxels first keeps a big scan from being sorted for nothing.
    flat = array.reshape(-1)
    if len(np.unique(flat[:: max(1, flat.size // 20_000)])) > 3:
        return
    values = np.unique(flat)
    if len(values) <= 3:
        raise ScanError(
            f"{source}: holds only the value{'s' if len(values) > 1 else ''} "
            f"{', '.join(f'{float(v):g}' for v in values)}: a mask or an empty picture, not a CT. "
            f"Give the image itself."
        )


def _refuse_other_scales(low: float, high: float, source: str) -> None:
    if low < 0:
        return
    found = f"{source}: taken as Hounsfield units, but the values are {low:g}..{high:g}: "
    if high <= 1:
        raise ScanError(f"{found}normalised to 0..1. Convert them back: {_REMEDY}.")
    if high <= 255:
        raise ScanError(f"{found}grey values 0..255 stored as numbers of another type; {_REMEDY}.")
    raise ScanError(
        f"{found}nothing is below 0, and air is -1000 HU. The rescale intercept was lost, probably "
        f"an offset of 1024: subtract it and try again."
    )


def _refuse_absurd(array: NDArray[Any], source: str) -> None:
    high = float(np.mean(array > _ABSURD_HIGH_HU))
    if high > _MOST_ABSURD:
        raise ScanError(
            f"{source}: {high:.1%} of the voxels are above {_ABSURD_HIGH_HU} HU (the highest is "
            f"{float(array.max()):g}); bone ends near 2000. Scaled wrongly: {_REMEDY}."
        )
    below = array[array < _ABSURD_LOW_HU]
    # Scanners fill what lies outside the field of view with one or two constants: those are fine.
    constants = np.sort(np.unique(below, return_counts=True)[1])[-2:].sum() if below.size else 0
    low = float(below.size - constants) / array.size
    if low > _MOST_ABSURD:
        raise ScanError(
            f"{source}: {low:.1%} of the voxels are below {_ABSURD_LOW_HU} HU (the lowest is "
            f"{float(array.min()):g}); air is -1000. Scaled wrongly: {_REMEDY}."
        )
