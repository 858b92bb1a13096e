"""Finding the lungs without learned weights: a threshold, components, closings.

Slice by slice: what is dark is air or lung; dark regions that reach a corner of the picture are the
air around the patient, small black ones are windpipe and bowel gas, the rest is lung. Vessels and
lesions inside are filled, notches at the pleura closed. Whole scans then lose regions that are
small in 3D.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covidssl.errors import ScanError
from covidssl.hounsfield import LUNG_WINDOW_HU, Pixels, Window, hu_to_unit
from covidssl.volume import Volume

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]
REVISION = 1  # raise it when masks change: caches and stores are made again
Slices = tuple[slice, ...]

# Pictures have no mm: lengths are shares of the picture's shorter edge, areas of its area.
_LUNG_BELOW_HU = -400.0
_BRIDGE = 0.012  # a body wall cut off by the picture's edge lets lung and outside air touch so far
_CLOSING = 0.035  # vessels and lesions at the pleura are closed up to this radius
_LEAST_AREA = 0.004
_LEAST_OF_LARGEST = 0.06
_LEAST_OF_LARGEST_3D = 0.05
_MOST_GAS_AREA = 0.03
_GAS_LEVEL = 0.06  # of the way from air to tissue; lung begins near 0.1
_LEAST_CONTRAST = 45  # grey values between lung and tissue; fat and liver differ by less
_BORDER_CONTACT = 1.2  # of the square root of the area: only strips along the edge have more
_FLAT = 2.5
_LOW = 0.78
_FRAME = 0.15
_WHITE = 245
_BLUR = 2

LEAST_SHARE = 0.02
MOST_SHARE = 0.85


@dataclass(frozen=True)
class Lungs:
    """The lungs of one scan.

    Attributes:
        mask: bool, on the scan's grid.
        slice_share: lung area by picture area of every slice, (Z,) float32.
        problem: why the whole mask is empty or absurd, in plain words; None when it is not.
    """

    mask: Volume
    slice_share: NDArray[np.float32]
    problem: str | None


def segment_lungs(ct: Volume, window: Window = LUNG_WINDOW_HU) -> Lungs:
    """Find the lungs of a CT, vessels and lesions inside them included.

    HU are thresholded at -400; windowed slices each at their own level, since nobody knows their
    window. Dense consolidation that fills a side up to the chest wall may be left out.

    Args:
        ct: upright HU or windowed scan, or a single picture.
        window: for HU alone: the grey scale (HU) on which lung, gas and tissue are told apart.
    """
    threshold = None
    grey: NDArray[Any] = ct.array
    if ct.pixels is Pixels.HU:
        threshold = 255.0 * float(hu_to_unit(np.array(_LUNG_BELOW_HU), window))
        grey = np.stack([np.rint(255 * hu_to_unit(plane, window)) for plane in ct.array])
    mask = np.stack([_slice_lungs(plane.astype(np.uint8), threshold) for plane in grey])
    if len(mask) > 1:
        mask = _large_in_3d(mask)
    share = mask.mean(axis=(1, 2)).astype(np.float32)
    return Lungs(ct.mask(mask), share, _problem(float(share.max())))


def lung_mask(ct: Volume) -> Volume:
    """The lungs of a CT as a mask on its grid.

    Raises:
        ScanError: when no lungs are found, or the mask is absurdly small or large.
    """
    lungs = segment_lungs(ct)
    if lungs.problem is not None:
        raise ScanError(f"{ct.source}: {lungs.problem}")
    return lungs.mask


def _problem(best: float) -> str | None:
    if best == 0:
        return "no lung found: nothing dark inside a body. Expected an axial chest CT."
    if best < LEAST_SHARE:
        return (
            f"hardly any lung: {best:.1%} of the best slice, expected {LEAST_SHARE:.0%} or more. "
            f"Expected an axial chest CT."
        )
    if best > MOST_SHARE:
        return (
            f"the lungs would fill {best:.0%} of a slice, expected {MOST_SHARE:.0%} at most: "
            f"not a chest CT, or not the values that it is said to hold."
        )
    return None


def _slice_lungs(grey: Grey, threshold: float | None) -> Mask:
    mask = np.zeros(grey.shape, dtype=np.bool_)
    inside = _without_frame(grey)
    smooth: Grey = ndimage.uniform_filter(grey[inside], 3)
    levels = _levels(smooth) if threshold is None else iter([threshold])
    for level in levels:
        found = _lungs_below(smooth, level)
        if found.mean() >= LEAST_SHARE or threshold is not None:
            mask[inside] = found
            break
    return mask


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


def _levels(grey: Grey) -> Iterator[float]:
    """Thresholds to try: the second is for windows in which tissue is nearly as dark as lung."""
    first = _otsu(grey)
    yield from _level_inside(grey, first, grey >= 0)
    darker = grey < first
    yield from _level_inside(grey, _otsu(grey[darker]), darker)


def _level_inside(grey: Grey, level: float, counted: Mask) -> Iterator[float]:
    # Air around the patient would pull the level down; the levels inside the body count.
    body = grey[counted & ~_outside(grey < level)]
    if body.size < 0.05 * grey.size:
        return
    level = _otsu(body)
    dark, bright = body[body < level], body[body >= level]
    if dark.size and bright.size and np.median(bright) - np.median(dark) >= _LEAST_CONTRAST:
        yield level


def _otsu(values: Grey) -> float:
    """The grey level that parts `values` best in two (Otsu 1979)."""
    counts = np.bincount(values.reshape(-1), minlength=256).astype(np.float64)
    weight = np.cumsum(counts)
    mass = np.cumsum(counts * np.arange(256))
    below_and_above = weight * (weight[-1] - weight)
    parts = below_and_above > 0
    if not parts.any():
        return 0.0
    between = np.zeros(256)
    moved = mass * weight[-1] - mass[-1] * weight
    between[parts] = moved[parts] ** 2 / below_and_above[parts]
    # Levels between two peaks are often equally good: take their middle, above the lower peak.
    return float(np.flatnonzero(between >= between.max() * (1 - 1e-12)).mean()) + 0.5


def _outside(dark: Mask) -> Mask:
    """Air around the patient: the dark regions at the corners, cut off from lungs they touch."""
    width = 2 * max(1, round(_BRIDGE * min(dark.shape))) + 1
    core = ndimage.minimum_filter(dark.view(np.uint8), width, mode="nearest")
    labels, count = ndimage.label(core)
    reached = np.isin(labels, _at_corners(labels)) if count else np.zeros_like(dark)
    grown = ndimage.maximum_filter(reached.view(np.uint8), width + 2, mode="nearest")
    return (grown > 0) & dark


def _at_corners(labels: NDArray[np.int32]) -> list[int]:
    corners = {int(labels[y, x]) for y in (0, -1) for x in (0, -1)}
    return sorted(corners - {0})


def _lungs_below(grey: Grey, level: float) -> Mask:
    dark = grey < level
    dark &= ~_outside(dark)
    labels, count = ndimage.label(dark)
    mask = np.zeros_like(dark)
    if not count:
        return mask
    radius = max(2, round(_CLOSING * min(grey.shape)))
    keep = _kept(labels, count, grey, level)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if keep[number]:
            mask[box] |= _closed(labels[box] == number, radius)
    return mask


def _kept(labels: NDArray[np.int32], count: int, grey: Grey, level: float) -> Mask:
    """Which of the regions 1..count are lung; entry 0, the background, is not."""
    flat = labels.reshape(-1)
    area = np.bincount(flat, minlength=count + 1).astype(np.float64)
    mean = np.bincount(flat, weights=grey.reshape(-1), minlength=count + 1) / np.maximum(area, 1)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    contact = np.bincount(edge, minlength=count + 1)
    keep: Mask = area >= _LEAST_AREA * grey.size
    keep[[0, *_at_corners(labels)]] = False
    keep &= contact <= _BORDER_CONTACT * np.sqrt(area)
    keep &= ~_on_the_table(labels, count)
    if not keep.any():
        return keep
    keep &= area >= _LEAST_OF_LARGEST * area[keep].max()
    bright = grey[grey >= level]
    air, tissue = float(grey.min()), float(np.median(bright)) if bright.size else 255.0
    gas = (mean - air < _GAS_LEVEL * (tissue - air)) & (area < _MOST_GAS_AREA * grey.size)
    # Where the window makes lung as black as gas, nothing tells them apart.
    return keep & ~gas if np.any(keep & ~gas) else keep


def _on_the_table(labels: NDArray[np.int32], count: int) -> Mask:
    """Regions 0..count that are flat and lie low: air between the back and the table."""
    flat = np.zeros(count + 1, dtype=np.bool_)
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        wide = columns.stop - columns.start > _FLAT * (rows.stop - rows.start)
        flat[number] = wide and (rows.start + rows.stop) / 2 > _LOW * len(labels)
    return flat


def _closed(region: Mask, radius: int) -> Mask:
    """A region without holes, and without notches up to `radius` pixels (both in 2D)."""
    margin = radius + 1
    padded = np.pad(ndimage.binary_fill_holes(region), margin)
    grown = ndimage.distance_transform_edt(~padded) <= radius
    closed = padded | (ndimage.distance_transform_edt(grown) > radius)
    filled: Mask = ndimage.binary_fill_holes(closed)
    return filled[margin:-margin, margin:-margin]


def _large_in_3d(mask: Mask) -> Mask:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    voxels = np.bincount(labels.reshape(-1))
    voxels[0] = 0
    keep = voxels >= _LEAST_OF_LARGEST_3D * voxels.max()
    kept: Mask = keep[labels]
    return kept
