"""Air inside the body that is no lung: windpipe, main airways, gas in stomach and bowel, table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covidssl.lungs.grid import Grid
from covidssl.lungs.levels import LUNG_BELOW_HU, outside
from covidssl.lungs.shapes import sizes

Mask = NDArray[np.bool_]
HU = NDArray[np.float32]

# Levels of gas, and how much of what lies around it may be lung: with more, it is emphysema.
_GAS_HU = ((-950.0, 0.165), (-920.0, 0.11))
_BELIEVED = 0.3  # of the air in the body: more is lung as dark as gas
_DARKER_HU = 50.0  # than such lung
_LUNG_HU = -600.0
_SHELL = ((1, 3, 3), (3, 7, 7))
_LEAST_GAS = 8
_MOST_OF_AIR = 0.25
_TABLE_MM = 15.0
_BODY_MM = 60.0


def inner_air(hu: HU, grid: Grid) -> Mask:
    """Air in the body: dark, not connected in its slice with the air around, not at the table."""
    dark = hu < LUNG_BELOW_HU
    inside = np.stack([plane & ~outside(plane) for plane in dark])
    return inside & ~_over_the_table(inside, hu, grid)


def free_gas(hu: HU, air: Mask) -> Mask:
    """Gas with tissue around it, which is darker than most lungs: of the airways and the bowel.

    Grown from its dark middle to its walls. Gas that has lung around it is emphysema, and stays.
    """
    found = _gas_below(hu, air, 0.0)
    if np.count_nonzero(found) > _BELIEVED * np.count_nonzero(air):
        return _gas_below(hu, air, float(np.median(hu[air])) - _DARKER_HU)
    return found


def _gas_below(hu: HU, air: Mask, ceiling: float) -> Mask:
    found = np.zeros_like(air)
    for level, most in _GAS_HU:
        found |= _in_tissue(hu, air & ~found, min(level, ceiling), most)
    return found


def _in_tissue(hu: HU, air: Mask, level: float, most_lung: float) -> Mask:
    found = np.zeros_like(air)
    gas = (hu < level) & air
    labels, count = ndimage.label(gas)
    if not count:
        return found
    voxels = sizes(labels, count)
    blurred = ndimage.maximum_filter(gas.view(np.uint8), (1, 3, 3)) > 0
    lung, tissue = (hu < _LUNG_HU) & air & ~blurred, hu > LUNG_BELOW_HU
    most = _MOST_OF_AIR * np.count_nonzero(air)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if not _LEAST_GAS <= voxels[number] <= most:
            continue
        wide = tuple(slice(max(0, s.start - 3), s.stop + 3) for s in box)
        region = (labels[wide] == number).view(np.uint8)
        near, around = (ndimage.maximum_filter(region, window) > 0 for window in _SHELL)
        shell = around & ~near
        beside = np.count_nonzero(lung[wide] & shell)
        walls = np.count_nonzero(tissue[wide] & shell)
        if beside < most_lung * (beside + walls):
            found[wide] |= (ndimage.maximum_filter(region, (1, 5, 5)) > 0) & air[wide]
    return found


def _over_the_table(air: Mask, hu: HU, grid: Grid) -> Mask:
    """Regions with the whole body above them and hardly anything below."""
    labels, count = ndimage.label(air)
    if not count:
        return air
    tissue = (hu >= LUNG_BELOW_HU).astype(np.float32) * np.float32(grid.spacing_mm[1])
    above = np.cumsum(tissue, axis=1, dtype=np.float32)
    below = above[:, -1:] - above
    numbers = np.arange(count + 1)
    table = ndimage.mean(below, labels, numbers) < _TABLE_MM
    table &= ndimage.mean(above, labels, numbers) > _BODY_MM
    table[0] = False
    found: Mask = table[labels]
    return found
