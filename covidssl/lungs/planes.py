"""Single pictures: the lungs by a threshold, components and closings in 2D.

What is dark is air or lung; dark regions that reach a corner of the picture are the air around the
patient, small black ones are windpipe and bowel gas, the rest is lung. Vessels and lesions inside
are filled, notches at the pleura closed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covidssl.lungs.costal import at_the_chest_wall, denser
from covidssl.lungs.grid import CHEST_MM
from covidssl.lungs.levels import AERATED_HU, TISSUE_HU, at_corners, levels, outside
from covidssl.lungs.result import LEFT, RIGHT
from covidssl.lungs.shapes import closed
from covidssl.lungs.sides import told_apart

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Sides = NDArray[np.uint8]
HU = NDArray[np.float32]
Labels = NDArray[np.int32]
Slices = tuple[slice, ...]

# Pictures have no mm: lengths are shares of the picture's shorter edge, areas of its area.
_CLOSING = 0.035  # vessels and lesions at the pleura are closed up to this radius
_LEAST_AREA = 0.004
_LEAST_OF_LARGEST = 0.06
_MOST_GAS_AREA = 0.03
_GAS_LEVEL = 0.06  # of the way from air to tissue; lung begins near 0.1
_BORDER_CONTACT = 1.2  # of the square root of the area: only strips along the edge have more
_FLAT_AND_LOW = ((2.5, 0.78), (4.0, 0.7))
_TABLE, _BODY = 0.035, 0.15  # tissue below and above air over the table, of the picture's height
_ALONG, _THIN = 0.9, 0.2
_FRAME = 0.15
_WHITE = 245
_BLUR = 2

LEAST_SHARE = 0.02
"""A slice with a smaller lung area / picture area shows hardly any lung."""


def plane_lungs(grey: Grey, threshold: float | None = None) -> Sides:
    """The lungs of one slice (Y, X), by a grey level or, without one, by the picture's own.

    Returns:
        (Y, X) uint8: 0, 1 for the patient's right lung, 2 for the left one.
    """
    sides = np.zeros(grey.shape, dtype=np.uint8)
    inside = _without_frame(grey)
    smooth: Grey = ndimage.uniform_filter(grey[inside], 3)
    for level in levels(smooth) if threshold is None else iter([threshold]):
        found = _lungs_below(smooth, level)
        if np.count_nonzero(found) >= LEAST_SHARE * found.size or threshold is not None:
            sides[inside] = found
            break
    return sides


def _without_frame(grey: Grey) -> Slices:
    """The picture inside a white frame, which figures cut out of papers often have."""
    kept = []
    for axis in (1, 0):
        white = np.mean(grey >= _WHITE, axis=axis) > 0.97
        deepest = int(_FRAME * len(white))
        first, last = (_run(side[:deepest]) for side in (white, white[::-1]))
        kept.append(slice(first, len(white) - last))
    return tuple(kept)


def _run(white: Mask) -> int:
    """How many lines to take away: the white ones at the start, and the blur beside them."""
    length = len(white) if white.all() else int(np.argmin(white))
    return length + _BLUR if length else 0


def _lungs_below(grey: Grey, level: float) -> Sides:
    dark = grey < level
    dark &= ~outside(dark)
    labels, count = ndimage.label(dark)
    whole = np.zeros(grey.shape, dtype=np.uint8)
    if not count:
        return whole
    hu = _about_hu(grey, level, dark)
    radius = max(2, round(_CLOSING * min(grey.shape)))
    sides = told_apart(_kept(labels, count, grey, level)[labels][np.newaxis])
    if not sides.any():
        return whole
    for side in (RIGHT, LEFT):
        one = closed(denser(sides == side, hu)[0], radius)
        whole[one & (whole == 0) & ((sides[0] == 0) | (sides[0] == side))] = side
    pixel_mm = CHEST_MM / max(grey.shape)
    whole = at_the_chest_wall(whole[np.newaxis], hu, (1.0, pixel_mm, pixel_mm))[0]
    for side in (RIGHT, LEFT):
        whole[ndimage.binary_fill_holes(whole == side) & (whole == 0)] = side
    return whole


def _about_hu(grey: Grey, level: float, dark: Mask) -> HU:
    """What stands for HU, (1, Y, X): a guess from how dark lung is, and how bright tissue."""
    lung = float(np.percentile(grey[dark], 30)) if dark.any() else 0.0
    bright = grey[grey >= level]
    tissue = float(np.median(bright)) if bright.size else 255.0
    scale = (TISSUE_HU - AERATED_HU) / max(tissue - lung, 1.0)
    return ((grey.astype(np.float32) - lung) * np.float32(scale) + AERATED_HU)[np.newaxis]


def _kept(labels: Labels, count: int, grey: Grey, level: float) -> Mask:
    """Which of the regions 1..count are lung; entry 0, the background, is not."""
    flat = labels.reshape(-1)
    area = np.bincount(flat, minlength=count + 1).astype(np.float64)
    mean = np.bincount(flat, weights=grey.reshape(-1), minlength=count + 1) / np.maximum(area, 1)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    contact = np.bincount(edge, minlength=count + 1)
    keep: Mask = area >= _LEAST_AREA * grey.size
    keep[[0, *at_corners(labels)]] = False
    keep &= contact <= _BORDER_CONTACT * np.sqrt(area)
    keep &= ~_on_the_table(labels, count, grey >= level)
    keep &= ~_frames(labels, count, area)
    if not keep.any():
        return keep
    keep &= area >= _LEAST_OF_LARGEST * area[keep].max()
    bright = grey[grey >= level]
    air, tissue = float(grey.min()), float(np.median(bright)) if bright.size else 255.0
    gas = (mean - air < _GAS_LEVEL * (tissue - air)) & (area < _MOST_GAS_AREA * grey.size)
    return keep & ~gas


def _on_the_table(labels: Labels, count: int, bright: Mask) -> Mask:
    """Regions 0..count with hardly anything below them: flat, or under the whole body."""
    rows = len(labels)
    above = np.cumsum(bright, axis=0, dtype=np.float32) / rows
    below = above[-1] - above
    numbers = np.arange(count + 1)
    table = ndimage.mean(below, labels, numbers) < _TABLE
    table &= ndimage.mean(above, labels, numbers) > _BODY
    for number, (y, x) in enumerate(ndimage.find_objects(labels), start=1):
        flat = (x.stop - x.start) / (y.stop - y.start)
        low = (y.start + y.stop) / 2 / rows
        table[number] |= any(flat > wide and low > deep for wide, deep in _FLAT_AND_LOW)
    return table


def _frames(labels: Labels, count: int, area: NDArray[np.float64]) -> Mask:
    """Regions 0..count that run along a whole side of the picture, and are thin."""
    height, width = labels.shape
    frames = np.zeros(count + 1, dtype=np.bool_)
    for number, (y, x) in enumerate(ndimage.find_objects(labels), start=1):
        rows, columns = y.stop - y.start, x.stop - x.start
        along = max(rows / height, columns / width) > _ALONG
        frames[number] = along and area[number] < _THIN * rows * columns
    return frames
