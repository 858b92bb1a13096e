"""Lesions as regions: 2D connected components of a stack, each with what surrounds it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covidssl.realism.cases import Stack

LEAST_AREA_MM2 = 40.0
"""Smaller components (7 mm across) are left out: they have no inside to speak of."""

PATCH_PX = 48
_AROUND_MM = 20.0
_EIGHT = np.ones((3, 3), dtype=bool)
_DENSE_SMOOTHING_MM = 2.0

Picture = TypeVar("Picture", NDArray[np.float32], NDArray[np.bool_])


@dataclass(frozen=True)
class Region:
    """One lesion of one slice; all arrays are crops (h, w) about it.

    Attributes:
        hu: float32 nominal HU.
        lungs: lungs, lesions included.
        mask: this lesion.
        lesions: all lesions of the slice.
        depth_mm: distance to the outside of the lungs.
        pixel_mm: edge of a pixel.
        posterior: row of the centroid between the front (0) and the back (1) of the lungs.
        level: place of the slice between apex (0) and base (1).
        cluster: case x block of neighbouring slices.
        patch: (48, 48) float32 nominal HU about the centroid.
        patch_mask: (48, 48) bool, this lesion in the patch.
    """

    hu: NDArray[np.float32]
    lungs: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    lesions: NDArray[np.bool_]
    depth_mm: NDArray[np.float64]
    pixel_mm: float
    posterior: float
    level: float
    cluster: int
    patch: NDArray[np.float32]
    patch_mask: NDArray[np.bool_]


def regions(stack: Stack, keep: NDArray[np.bool_] | None = None) -> list[Region]:
    """The lesions of a stack, those under `LEAST_AREA_MM2` left out.

    Args:
        stack: slices with lesions.
        keep: (N, H, W); lesions that leave it are left out. None: all are taken.
    """
    found: list[Region] = []
    for n in np.flatnonzero(stack.lesions.any((1, 2))):
        allowed = None if keep is None else keep[n]
        found += _of_slice(stack, int(n), allowed)
    return found


def dense_part(stack: Stack, least_hu: float) -> NDArray[np.bool_]:
    """What of the lesions is denser than `least_hu`, (N, H, W), after smoothing by 2 mm."""
    sigma = _DENSE_SMOOTHING_MM / stack.pixel_mm
    smooth = ndimage.gaussian_filter(stack.hu, (0, sigma, sigma))
    return stack.lesions & (smooth > least_hu)


def _of_slice(stack: Stack, n: int, allowed: NDArray[np.bool_] | None) -> Iterator[Region]:
    labels, _ = ndimage.label(stack.lesions[n], _EIGHT)
    depth = ndimage.distance_transform_edt(stack.lungs[n]) * stack.pixel_mm
    rows = np.flatnonzero(stack.lungs[n].any(1))
    pad = round(_AROUND_MM / stack.pixel_mm)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels == number
        if mask.sum() * stack.pixel_mm**2 < LEAST_AREA_MM2:
            continue
        if allowed is not None and (mask & ~allowed).any():
            continue
        window = tuple(slice(max(side.start - pad, 0), side.stop + pad) for side in box)
        y, x = (float(index.mean()) for index in np.nonzero(mask))
        yield Region(
            hu=stack.hu[n][window],
            lungs=stack.lungs[n][window],
            mask=mask[window],
            lesions=stack.lesions[n][window],
            depth_mm=depth[window],
            pixel_mm=stack.pixel_mm,
            posterior=float((y - rows[0]) / max(int(rows[-1] - rows[0]), 1)),
            level=float(stack.level[n]),
            cluster=int(stack.cluster[n]),
            patch=patch(stack.hu[n], y, x, "edge"),
            patch_mask=patch(mask, y, x, "constant"),
        )


def patch(picture: Picture, y: float, x: float, mode: Literal["edge", "constant"]) -> Picture:
    """A square of `PATCH_PX` about a place, filled as by `numpy.pad` where the picture ends."""
    half = PATCH_PX // 2
    padded = np.pad(picture, half, mode=mode)
    top, left = round(y), round(x)
    return padded[top : top + PATCH_PX, left : left + PATCH_PX]
