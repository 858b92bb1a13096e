"""Millimetres and HU of a scan, also of one that does not say them; and working slice by slice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.altering import DoesNotApplyError, Opened
from covidssl.box import lungs_region
from covidssl.errors import ScanError
from covidssl.frames import ADULT_LUNGS_HEIGHT_MM, ADULT_LUNGS_WIDTH_MM
from covidssl.hounsfield import LUNG_WINDOW_HU, Pixels
from covidssl.volume import Volume

Plane = NDArray[np.float32]

GREY_HU = (LUNG_WINDOW_HU[1] - LUNG_WINDOW_HU[0]) / 255.0
"""HU of a grey level of an 8-bit slice, whose unknown window is taken for the lung window."""

_LEAST_HU, _MOST_HU = -1024, 3071


class Scale(NamedTuple):
    """Size of a voxel in mm.

    Attributes:
        z: distance of the slices; None for a single picture.
        y, x: of a pixel.
        assumed: whether any of them was reckoned from the size of an adult's lungs.
    """

    z: float | None
    y: float
    x: float
    assumed: bool


def scale_of(scan: Opened) -> Scale:
    """Voxel size of a scan; where it is not known, both lungs are 270 mm wide and 250 mm high."""
    ct, lungs = scan
    single = len(ct.array) == 1
    if ct.spacing_mm is not None and lungs.spacing_known:
        z, y, x = ct.spacing_mm
        return Scale(None if single else z, y, x, False)
    region = lungs_region(np.asarray(lungs.mask.array, dtype=bool)) if lungs.usable else None
    slices, _, width = ct.array.shape
    if region is not None:
        slices, width = len(region.slices), region.box.right - region.box.left
    edge = ADULT_LUNGS_WIDTH_MM / width
    return Scale(None if single else ADULT_LUNGS_HEIGHT_MM / slices, edge, edge, True)


def must_be_a_stack(ct: Volume, z_mm: float | None) -> float:
    """Distance of the slices.

    Raises:
        DoesNotApplyError: for a single picture.
    """
    if z_mm is None:
        raise DoesNotApplyError(f"{ct.source}: is a single picture, this needs a stack of slices")
    return z_mm


def must_be(pixels: Pixels, ct: Volume, why: str) -> None:
    """Refuse a scan of the other kind of pixel.

    Raises:
        DoesNotApplyError: for such a scan; `why` says what it means.
    """
    if ct.pixels is not pixels:
        raise DoesNotApplyError(f"{ct.source}: {why}")


def each_plane(ct: Volume, alter: Callable[[Plane, int], Plane]) -> Volume:
    """A scan whose slices were altered one by one, in HU; so that memory stays that of one scan.

    Args:
        ct: of either kind; grey values go through the lung window to HU and back.
        alter: takes a slice (Y, X) in HU and its place, gives one of the same shape.
    """
    store = storing(ct)
    planes = (store(alter(in_hu(ct, plane), z)) for z, plane in enumerate(ct.array))
    return replace(ct, array=np.stack(list(planes)))


def in_hu(ct: Volume, values: NDArray[np.generic]) -> Plane:
    """Values of a scan as HU, float32.

    Raises:
        ScanError: of a mask.
    """
    if ct.pixels is None:
        raise ScanError(f"{ct.source}: is a mask, expected a CT scan.")
    found = np.asarray(values, dtype=np.float32)
    return found if ct.pixels is Pixels.HU else found * np.float32(GREY_HU) + LUNG_WINDOW_HU[0]


def storing(ct: Volume) -> Callable[[Plane], NDArray[np.generic]]:
    """From HU to what the scan holds: rounded, and clipped to what scans of this kind can hold.

    The range of HU is -1024..3071, and wider where the scan's own values are.
    """
    if ct.pixels is not Pixels.HU:
        return lambda hu: np.clip(np.rint((hu - LUNG_WINDOW_HU[0]) / GREY_HU), 0, 255).astype(
            ct.array.dtype
        )
    values = np.asarray(ct.array, dtype=np.int16)
    low, high = min(_LEAST_HU, int(values.min())), max(_MOST_HU, int(values.max()))
    return lambda hu: np.clip(np.rint(hu), low, high).astype(ct.array.dtype)
