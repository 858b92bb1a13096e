"""Whole scans: the lungs as connected air in 3D, and what disease took out of their outline.

All on a grid of about 2 mm: air inside the body; without windpipe and main airways (`airways`);
without gas in the bowel; filled, rolled over with a ball, completed at the chest wall (`costal`).
Only the outline of what stays is drawn on the scan's own grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covidssl.lungs.costal import at_the_chest_wall, denser
from covidssl.lungs.gas import free_gas, inner_air
from covidssl.lungs.grid import Grid
from covidssl.lungs.levels import LUNG_BELOW_HU
from covidssl.lungs.paravertebral import beside_the_spine
from covidssl.lungs.result import LEFT, RIGHT
from covidssl.lungs.shapes import rolled, sizes, without_holes
from covidssl.lungs.sides import told_apart

Mask = NDArray[np.bool_]
HU = NDArray[np.float32]
Sides = NDArray[np.uint8]

_LEAST_LUNG = 0.04  # of the largest region of air
_GAS_HU = -935.0
_MOST_GAS = 0.3
_CLOSING_MM = 12.0
_HOLE = 0.02  # of a slice's lungs: a vessel, not the dome of the liver
_DOME = 0.3
_ROOM = 10


def stack_lungs(
    hu: NDArray[np.generic], spacing_mm: tuple[float, float, float] | None
) -> tuple[Mask, Sides]:
    """The lungs of a whole scan (Z, Y, X) in HU, or in what stands for them, and their sides."""
    grid = Grid.of(hu.shape, spacing_mm)
    coarse = grid.coarse(hu)
    air = inner_air(coarse, grid)
    gas = free_gas(coarse, air)
    lungs = without_gas(air & ~gas, coarse)
    if not lungs.any():
        return np.zeros(hu.shape, dtype=np.bool_), np.zeros(hu.shape, dtype=np.uint8)
    whole = np.zeros(coarse.shape, dtype=np.uint8)
    box = _around(lungs)
    middle = _middle(coarse) - box[2].start
    whole[box] = _completed(told_apart(lungs[box], middle), coarse[box], grid)
    whole[gas] = 0
    return _on_the_scan(whole, lungs, hu, grid)


def _completed(sides: Sides, hu: HU, grid: Grid) -> Sides:
    """Each lung with its vessels and lesions, dense ones at its edge too."""
    radius = _CLOSING_MM / float(np.mean(grid.spacing_mm[1:]))
    whole = np.zeros_like(sides)
    for side in (RIGHT, LEFT):
        one = without_domes(denser(sides == side, hu))
        one = without_domes(rolled(one, radius))
        whole[one & (whole == 0) & ((sides == 0) | (sides == side))] = side
    whole = beside_the_spine(whole, hu, grid.spacing_mm)
    whole = at_the_chest_wall(whole, hu, grid.spacing_mm)
    for side in (RIGHT, LEFT):
        whole[without_domes(rolled(whole == side, radius)) & (whole == 0)] = side
    return whole


def _around(lungs: Mask) -> tuple[slice, slice, slice]:
    """The box about the lungs, with room to close them in."""
    spans = []
    for axis, room in enumerate((2, _ROOM, _ROOM)):
        held = np.flatnonzero(lungs.any(axis=tuple({0, 1, 2} - {axis})))
        spans.append(slice(max(0, int(held[0]) - room), int(held[-1]) + 1 + room))
    return spans[0], spans[1], spans[2]


def _middle(hu: HU) -> float:
    """Column of the body's middle."""
    tissue = np.count_nonzero(hu >= LUNG_BELOW_HU, axis=(0, 1)).astype(np.float64)
    return float(tissue @ np.arange(len(tissue)) / max(tissue.sum(), 1))


def without_gas(air: Mask, hu: HU) -> Mask:
    """The large regions of air, but those that are all gas."""
    labels, count = ndimage.label(air)
    if not count:
        return air
    voxels = sizes(labels, count)
    mean = ndimage.mean(hu, labels, np.arange(count + 1))
    keep = voxels >= _LEAST_LUNG * voxels.max()
    gas = (mean < _GAS_HU) & (voxels < _MOST_GAS * voxels.max())
    keep &= ~gas
    keep[0] = False
    kept: Mask = keep[labels]
    return kept


def without_domes(mask: Mask) -> Mask:
    """Holes of every slice filled, but those that go on below: the dome of liver or spleen."""
    filled = without_holes(mask)
    holes = filled & ~mask
    labels, count = ndimage.label(holes)
    if not count:
        return filled
    area = mask.sum(axis=(1, 2))
    keep = np.ones(count + 1, dtype=np.bool_)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        first, last = box[0].start, box[0].stop
        hole = labels[box] == number
        areas = hole.sum(axis=(1, 2))
        if np.all(areas <= _HOLE * area[first:last]):
            continue
        ends = [(first - 1, hole[0]), (last, hole[-1])]
        open_ends = [
            np.count_nonzero(end & ~filled[z][box[1:]]) for z, end in ends if 0 <= z < len(mask)
        ]
        keep[number] = max(open_ends, default=0) <= _DOME * areas.max()
    return mask | (holes & keep[labels])


def _on_the_scan(
    sides: Sides, lungs: Mask, hu: NDArray[np.generic], grid: Grid
) -> tuple[Mask, Sides]:
    """The coarse mask on the scan's grid, its edge against lung drawn at the scan's own voxels."""
    thick = sides > 0
    if max(grid.factors) == 1:
        return thick, sides
    near = ndimage.maximum_filter(sides, (1, 3, 3), mode="nearest")
    inside = ndimage.minimum_filter(thick.view(np.uint8), (1, 3, 3), mode="nearest") > 0
    sure = inside | (thick & ~lungs)
    band = (near > 0) & ~sure & (ndimage.maximum_filter(lungs.view(np.uint8), (1, 3, 3)) > 0)
    dark = np.asarray(hu) < LUNG_BELOW_HU
    mask: Mask = grid.fine(sure) | (grid.fine(band) & dark)
    return mask, np.where(mask, grid.fine(near), 0).astype(np.uint8)
