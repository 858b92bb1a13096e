"""Closings and openings of masks, slice by slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]


def closed(region: Mask, radius: int) -> Mask:
    """A region (Y, X) without holes, and without notches up to `radius` pixels."""
    margin = radius + 1
    padded = np.pad(ndimage.binary_fill_holes(region), margin)
    grown = ndimage.distance_transform_edt(~padded) <= radius
    rolled = padded | (ndimage.distance_transform_edt(grown) > radius)
    filled: Mask = ndimage.binary_fill_holes(rolled)
    return filled[margin:-margin, margin:-margin]


def rolled(mask: Mask, radius: float) -> Mask:
    """Every slice (Z, Y, X) closed by a disc of `radius` pixels, holes left as they are."""
    out = mask.copy()
    margin = int(radius) + 2
    for plane, result in zip(mask, out, strict=True):
        box = bounds(plane)
        if box is None:
            continue
        padded = np.pad(plane[box], margin)
        grown = ndimage.distance_transform_edt(~padded) <= radius
        inner = ndimage.distance_transform_edt(grown) > radius
        result[box] |= inner[margin:-margin, margin:-margin]
    return out


def without_holes(mask: Mask) -> Mask:
    """Every slice (Z, Y, X) with its holes filled."""
    box = bounds(np.asarray(mask.any(axis=0)))
    if box is None:
        return mask.copy()
    filled = mask.copy()
    filled[:, *box] = _without_holes(mask[:, *box])
    return filled


def _without_holes(mask: Mask) -> Mask:
    # All slices at once: nothing joins them.
    flat = np.zeros((3, 3, 3), dtype=np.bool_)
    flat[1] = ndimage.generate_binary_structure(2, 1)
    labels, count = ndimage.label(~mask, flat)
    open_air = np.zeros(count + 1, dtype=np.bool_)
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        open_air[edge] = True
    open_air[0] = False
    filled: Mask = ~open_air[labels]
    return filled


def bounds(plane: Mask) -> tuple[slice, slice] | None:
    """The rectangle of a plane's pixels; None when it is empty."""
    rows = np.flatnonzero(plane.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(plane.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def opened(mask: Mask, size: int) -> Mask:
    """Every slice (Z, Y, X) opened by a square of `size` pixels."""
    kept = ndimage.minimum_filter(mask.view(np.uint8), (1, size, size), mode="nearest")
    # With an even size the two windows reach to opposite sides.
    back = (0, size % 2 - 1, size % 2 - 1)
    grown = ndimage.maximum_filter(kept, (1, size, size), mode="nearest", origin=back)
    return grown > 0


def sizes(labels: Labels, count: int) -> NDArray[np.int64]:
    """Voxels of every label 0..count; that of the background is 0."""
    found = np.bincount(labels.reshape(-1), minlength=count + 1)
    found[0] = 0
    return found
