"""Which grey value parts lung from tissue, where nobody knows the window; and the air outside."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]
HU = NDArray[np.float32]

AERATED_HU, TISSUE_HU = -870.0, 40.0
"""What the levels of a windowed slice are taken for."""

LUNG_BELOW_HU = -400.0

# Pictures have no mm: lengths are shares of the picture's shorter edge, areas of its area.
_BRIDGE = 0.012  # a body wall cut off by the picture's edge lets lung and outside air touch so far
_LEAST_CONTRAST = 45  # grey values between lung and tissue; fat and liver differ by less
_LEAST_BODY = 0.05
_AERATED_PERCENT = 30.0  # of the dark inside: what disease has not made denser
_SHARES = (0.85, 1.1)
_LEAST_DARK = 0.05  # below it, the dark may be windpipe or bowel: their level is not the lungs'


def levels(grey: Grey) -> Iterator[float]:
    """Thresholds to try: the second is for windows in which tissue is nearly as dark as lung."""
    first = otsu(grey)
    yield from _level_inside(grey, first, grey >= 0)
    darker = grey < first
    yield from _level_inside(grey, otsu(grey[darker]), darker)


def otsu(values: Grey) -> float:
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


def outside(dark: Mask) -> Mask:
    """Air around the patient: the dark regions at the corners, cut off from lungs they touch."""
    width = 2 * max(1, round(_BRIDGE * min(dark.shape))) + 1
    core = ndimage.minimum_filter(dark.view(np.uint8), width, mode="nearest")
    labels, count = ndimage.label(core)
    reached = np.isin(labels, at_corners(labels)) if count else np.zeros_like(dark)
    grown = ndimage.maximum_filter(reached.view(np.uint8), width + 2, mode="nearest")
    return (grown > 0) & dark


def at_corners(labels: Labels) -> list[int]:
    """The regions that hold a corner of the picture."""
    corners = {int(labels[y, x]) for y in (0, -1) for x in (0, -1)}
    return sorted(corners - {0})


def hu_of_windowed(stack: Grey) -> HU | None:
    """About what HU a windowed stack (Z, Y, X) had: lung at -870, tissue at 40, slice by slice.

    Slices without much lung in them take the contrast of their neighbours, so that gas in the
    bowel stays darker than lung.

    Returns:
        float32 of the same shape; None when no slice holds anything like lung.
    """
    found = np.array([_two_levels(plane) for plane in stack])
    known = np.flatnonzero(np.isfinite(found[:, 0]))
    if not known.size:
        return None
    places = np.arange(len(stack))
    tissue = found[:, 1]
    tissue = np.interp(places, np.flatnonzero(tissue > 0), tissue[tissue > 0])
    share = np.interp(places, known, found[known, 0] / found[known, 1])
    # What differs more from the other slices is disease, not the slice's window.
    share = np.clip(share, *(np.median(share) * np.array(_SHARES)))
    dark = (share * tissue).astype(np.float32)[:, None, None]
    bright = tissue.astype(np.float32)[:, None, None]
    scale = (TISSUE_HU - AERATED_HU) / np.maximum(bright - dark, 1)
    return np.asarray((stack - dark) * scale + AERATED_HU, dtype=np.float32)


def _two_levels(plane: Grey) -> tuple[float, float]:
    """Levels of aerated lung and of tissue in the body; NaN where the dark is too small."""
    smooth: Grey = ndimage.uniform_filter(plane, 3)
    tissue = 0.0
    for level in levels(smooth):
        dark = smooth < level
        inside = dark & ~outside(dark)
        tissue = float(np.median(smooth[~dark]))
        if inside.mean() >= _LEAST_DARK:
            return float(np.percentile(smooth[inside], _AERATED_PERCENT)), tissue
    if not tissue:
        bright = smooth[smooth >= otsu(smooth)]
        tissue = float(np.median(bright)) if bright.size else 0.0
    return float("nan"), tissue


def _level_inside(grey: Grey, level: float, counted: Mask) -> Iterator[float]:
    # Air around the patient would pull the level down; the levels inside the body count.
    body = grey[counted & ~outside(grey < level)]
    if body.size < _LEAST_BODY * grey.size:
        return
    level = otsu(body)
    dark, bright = body[body < level], body[body >= level]
    if dark.size and bright.size and np.median(bright) - np.median(dark) >= _LEAST_CONTRAST:
        yield level
