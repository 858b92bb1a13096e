"""The two lungs told apart: cut where they touch, then named by where they lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covidssl.lungs.result import LEFT, RIGHT
from covidssl.lungs.shapes import sizes

Mask = NDArray[np.bool_]
Sides = NDArray[np.uint8]

_LARGE = 0.15  # of both lungs: a lung of its own
_DEEPEST = 0.06  # of the width of both: lungs touch along a thinner junction


def told_apart(mask: Mask, middle: float | None = None) -> Sides:
    """Which lung each voxel (Z, Y, X) belongs to: 1 the patient's right, 2 the left.

    Lungs that touch are eroded until they part, and grown back. A region alone goes to the side
    of the body's middle on which it lies.

    Args:
        mask: of both lungs, upright.
        middle: column of the body's middle; None for the middle of the mask.
    """
    sides = np.zeros(mask.shape, dtype=np.uint8)
    columns = np.flatnonzero(mask.any(axis=(0, 1)))
    if not columns.size:
        return sides
    if middle is None:
        middle = (float(columns[0]) + float(columns[-1])) / 2
    deepest = max(3, round(_DEEPEST * (int(columns[-1]) - int(columns[0]))))
    return _grown(_parted(mask, middle, deepest), mask, middle, deepest)


def _parted(mask: Mask, middle: float, deepest: int) -> Sides:
    """The regions of the mask, eroded as far as needed for none to be both lungs, by side."""
    first = named = _named(mask, middle)
    core = mask
    for _ in range(deepest):
        if _both(named):
            return named
        core = ndimage.minimum_filter(core.view(np.uint8), (1, 3, 3), mode="nearest") > 0
        named = _named(core, middle)
    return named if _both(named) else first


def _named(mask: Mask, middle: float) -> Sides:
    labels, count = ndimage.label(mask)
    voxels = sizes(labels, count)
    names = np.zeros(count + 1, dtype=np.uint8)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        profile = (labels[box] == number).sum(axis=(0, 1))
        centre = box[2].start + float(profile @ np.arange(len(profile))) / voxels[number]
        names[number] = RIGHT if centre < middle else LEFT
    named: Sides = names[labels]
    return named


def _both(named: Sides) -> bool:
    counts = np.bincount(named.reshape(-1), minlength=3)[1:]
    return bool(counts.min() >= _LARGE * counts.sum())


def _grown(seeds: Sides, mask: Mask, middle: float, deepest: int) -> Sides:
    """Seeds grown within the mask; what no seed reaches goes by its column."""
    sides = seeds.copy()
    for _ in range(2 * deepest):
        bare = mask & (sides == 0)
        if not bare.any():
            return sides
        grown = ndimage.maximum_filter(sides, (1, 3, 3), mode="nearest")
        if not np.any(grown[bare]):
            break
        sides[bare] = grown[bare]
    bare = mask & (sides == 0)
    place = np.arange(mask.shape[2]) < middle
    sides[bare] = np.broadcast_to(np.where(place, RIGHT, LEFT), mask.shape)[bare]
    return sides
