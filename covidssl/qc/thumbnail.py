"""One small picture of a scan: some slices and a coronal view, with the outline of the mask."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covidssl.hounsfield import LUNG_WINDOW_HU, Pixels, hu_to_unit
from covidssl.lungs import Lungs
from covidssl.volume import Volume

SLICES = 5
HEIGHT = 160
"""Height in pixels of the picture of a volume."""

SINGLE = 256
"""Height in pixels of the picture of a single slice."""

COLOURS = {"right": (79, 195, 247), "left": (255, 179, 0), "lungs": (0, 214, 143)}
"""Outlines of the patient's right and left lung, and of lungs that are not told apart."""

_GAP = 4
_WIDEST = 1.6  # of a view's height
_MOST_BYTES = 40_000
_GREYS = (64, 32, 16, 8)

Grey = NDArray[np.float32]
Labels = NDArray[np.uint8]


def thumbnail(ct: Volume, lungs: Lungs | None) -> bytes:
    """A PNG to judge a scan and its lung mask by at a glance, of at most some 40 kB.

    Up to five axial slices from the lowest to the highest one with lung (without lung: of the
    whole scan), the lowest first, and where the spacing is known a coronal view through the middle
    of the lungs. HU are shown through the lung window. The patient's right is on the left.

    Args:
        ct: upright scan, shape (Z, Y, X).
        lungs: its lungs, outlined in `COLOURS`; None: nothing is outlined.
    """
    spacing = ct.spacing_mm or (1.0, 1.0, 1.0)
    height = HEIGHT if len(ct.array) > 1 else SINGLE
    chosen = _spread(len(ct.array), lungs)
    views = [_view(ct, lungs, int(index), spacing, height) for index in chosen]
    if ct.spacing_mm is not None and len(ct.array) > 1:
        views.append(_coronal(ct, lungs, chosen, height))
    gap = np.zeros((height, _GAP), dtype=np.uint8)
    parts = [part for view in views for part in (view, (gap, gap))][:-1]
    grey = np.concatenate([part[0] for part in parts], axis=1)
    lines = np.concatenate([part[1] for part in parts], axis=1)
    png = b""
    for greys in _GREYS:
        png = _png(grey, lines, greys)
        if len(png) <= _MOST_BYTES:
            break
    return png


def _labels(lungs: Lungs | None, plane: Any) -> Labels | None:
    """1 the patient's right lung, 2 the left one, 3 lung that is of no side, 0 elsewhere.

    Args:
        lungs: of the scan.
        plane: what to take of the (Z, Y, X) grid; the whole of a large scan would take a while.
    """
    if lungs is None:
        return None
    inside = lungs.mask.array[plane].astype(np.bool_, copy=False)
    of_a_side = np.zeros_like(inside) if lungs.sides is None else lungs.sides[plane]
    labels: Labels = np.where(inside & (of_a_side == 0), 3, of_a_side).astype(np.uint8)
    return labels


def _spread(slices: int, lungs: Lungs | None) -> NDArray[np.int64]:
    shown = np.arange(slices) if lungs is None else np.flatnonzero(lungs.slice_share > 0)
    if len(shown) == 0:
        shown = np.arange(slices)
    places = np.rint(np.linspace(shown[0], shown[-1], min(SLICES, slices)))
    return np.unique(places.astype(np.int64))


def _view(
    ct: Volume, lungs: Lungs | None, index: int, spacing: tuple[float, ...], height: int
) -> tuple[Labels, Labels]:
    return _fitted(_unit(ct, ct.array[index]), _labels(lungs, index), spacing[1:], height)


def _coronal(
    ct: Volume, lungs: Lungs | None, chosen: NDArray[np.int64], height: int
) -> tuple[Labels, Labels]:
    row = ct.array.shape[1] // 2
    if lungs is not None:
        area = lungs.mask.array[chosen].astype(np.bool_, copy=False).sum(axis=(0, 2)).cumsum()
        if area[-1] > 0:
            row = int(np.searchsorted(area, area[-1] / 2))
    plane = (slice(None, None, -1), row)
    spacing = ct.spacing_mm or (1.0, 1.0, 1.0)
    upside = _labels(lungs, plane)
    return _fitted(_unit(ct, ct.array[plane]), upside, (spacing[0], spacing[2]), height)


def _unit(ct: Volume, plane: NDArray[np.generic]) -> Grey:
    if ct.pixels is Pixels.HU:
        return hu_to_unit(plane, LUNG_WINDOW_HU)
    return np.asarray(plane, dtype=np.float32) / np.float32(255)


def _fitted(
    plane: Grey, labels: Labels | None, spacing: tuple[float, ...], height: int
) -> tuple[Labels, Labels]:
    """Grey values and outlines (height, some width) uint8 of a plane with its true proportions."""
    rows, columns = (plane.shape[0] * spacing[0], plane.shape[1] * spacing[1])
    scale = min(height / rows, _WIDEST * height / columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    grey = np.rint(255 * _resized(plane, size)).astype(np.uint8)
    lines = np.zeros_like(grey)
    if labels is not None:
        for label in (3, 2, 1):
            inside = _resized(np.equal(labels, label).astype(np.float32), size) >= 0.5
            lines[_edge(inside)] = label
    above = (height - size[1]) // 2
    margin = ((above, height - size[1] - above), (0, 0))
    return np.pad(grey, margin), np.pad(lines, margin)


def _resized(plane: Grey, size: tuple[int, int]) -> Grey:
    picture = Image.fromarray(np.ascontiguousarray(plane))
    smaller = size[0] < plane.shape[1] and size[1] < plane.shape[0]
    how = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    resized: Grey = np.clip(np.asarray(picture.resize(size, how), dtype=np.float32), 0, 1)
    return resized


def _edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    around = np.pad(inside, 1)
    deep = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return inside & ~deep


def _png(grey: Labels, lines: Labels, greys: int) -> bytes:
    """A picture of a palette: so many greys, then the colours of the outlines."""
    indexes = np.rint(grey * ((greys - 1) / 255)).astype(np.uint8)
    indexes = np.where(lines > 0, greys + lines - 1, indexes).astype(np.uint8)
    shades = np.rint(np.linspace(0, 255, greys)).astype(np.uint8)
    palette = [*np.repeat(shades, 3).tolist()]
    for side in ("right", "left", "lungs"):
        palette += COLOURS[side]
    picture = Image.fromarray(indexes)
    picture.putpalette(palette)
    content = io.BytesIO()
    picture.save(content, format="PNG", optimize=True)
    return content.getvalue()
