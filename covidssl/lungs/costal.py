"""Lung that dense disease took out of the outline at the chest wall.

The wall is seen from the middle of the chest: how far the lungs reach along every ray of every
slice. Where a side reaches less far than its neighbours along the wall, or than the other side
does there, what lies between is dense lung. Rays that meet no lung at all (sternum, spine, heart,
liver) are left alone, and so is bone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covidssl.lungs.result import LEFT, RIGHT
from covidssl.lungs.shapes import opened

Mask = NDArray[np.bool_]
HU = NDArray[np.float32]
Sides = NDArray[np.uint8]
Reach = NDArray[np.float32]
Spacing = tuple[float, float, float]

_DENSE_BELOW_HU = -140.0  # dense lesions are darker than the wall; fat begins near -120
_RAYS = 180
_DIP = 25  # rays of 2 degrees: a notch in the wall is narrower
_SPINE = 13  # rays to either side of the back's middle, where only the other side is asked
_BONE_HU = 180.0
_RIBS = 9
_BACK = 30
_TALL_MM = 150.0
_AORTA = 22  # rays
_FRONT = 55  # rays from the back's middle: farther on, heart and liver differ from side to side
_LEAST_MM = 5.0
_DEEP_MM = 10.0
_MARGIN_MM = 5.0
_DEEPEST = 0.75  # of the reach: more would be liver or heart
_DEEPEST_ALONE = 0.4  # no slice above or below says what is liver


class _Rays(NamedTuple):
    """Rays from the middle of the chest, the first to the back and on by the patient's right."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    inside: Mask
    angle: NDArray[np.int64]
    radius: Reach

    @classmethod
    def of(cls, shape: tuple[int, ...], centre: tuple[float, float]) -> _Rays:
        """(rays, radii) pixels of the rays; and ray and radius of every pixel (Y, X)."""
        height, width = shape[1:]
        turn = (np.arange(_RAYS) + 0.5) * (2 * np.pi / _RAYS)
        radii = np.arange(int(np.hypot(height, width)))
        y = np.rint(centre[0] + np.cos(turn)[:, None] * radii).astype(np.int64)
        x = np.rint(centre[1] - np.sin(turn)[:, None] * radii).astype(np.int64)
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        away = np.indices((height, width)) - np.array(centre)[:, None, None]
        seen = np.arctan2(-away[1], away[0]) % (2 * np.pi)
        angle = np.minimum((seen * _RAYS / (2 * np.pi)).astype(np.int64), _RAYS - 1)
        radius = np.hypot(*away).astype(np.float32)
        return cls(y.clip(0, height - 1), x.clip(0, width - 1), inside, angle, radius)

    def reach(self, mask: Mask) -> Reach:
        """How far the mask reaches along every ray of every slice, (Z, rays); 0 for not at all."""
        seen = mask[:, self.rows, self.columns] & self.inside
        last = seen.shape[2] - np.argmax(seen[:, :, ::-1], axis=2)
        return np.where(seen.any(axis=2), last, 0).astype(np.float32)

    def bone(self, hu: HU, reach: Reach) -> Reach:
        """Where ribs bound every ray of every slice beyond its reach, (Z, rays)."""
        bone: Mask = hu > _BONE_HU
        seen: Mask = bone[:, self.rows, self.columns] & self.inside
        seen &= np.arange(seen.shape[2]) >= reach[:, :, None]
        first = np.where(seen.any(axis=2), np.argmax(seen, axis=2), seen.shape[2])
        # Between two ribs the wall is no farther than the ribs are.
        nearest = ndimage.minimum_filter1d(first, 3, axis=0, mode="nearest")
        nearest = ndimage.grey_opening(nearest, (1, _RIBS), mode=("nearest", "wrap"))
        # But the spine stands farther in than the wall beside it.
        at_back = _from_back() < _BACK
        beside = ndimage.minimum_filter(first, (1, 3), mode=("nearest", "wrap"))
        nearest[:, at_back] = beside[:, at_back]
        return np.maximum(nearest, reach).astype(np.float32)


def denser(lungs: Mask, hu: HU) -> Mask:
    """With the dense parts that touch the lungs, thicker than the blur of an edge."""
    near = ndimage.maximum_filter(lungs.view(np.uint8), (1, 9, 9)) > 0
    dense = opened((hu < _DENSE_BELOW_HU) & near & ~lungs, 2)
    labels, count = ndimage.label(dense | lungs)
    held = np.zeros(count + 1, dtype=np.bool_)
    held[np.unique(labels[lungs])] = True
    held[0] = False
    return lungs | held[labels]


def at_the_chest_wall(sides: Sides, hu: HU, spacing_mm: Spacing) -> Sides:
    """The lungs with the dense disease between them and the chest wall.

    Args:
        sides: (Z, Y, X) 1 for the patient's right lung, 2 for the left.
        hu: of the same grid.
        spacing_mm: of that grid, (z, y, x).
    """
    mask = sides > 0
    rows = np.flatnonzero(mask.any(axis=(0, 2)))
    middle = _middle(mask)
    rays = _Rays.of(mask.shape, ((float(rows[0]) + float(rows[-1])) / 2, middle))
    reach = rays.reach(mask)
    full = np.minimum(_expected(reach, spacing_mm[0]), rays.bone(hu, reach))
    pixel_mm = float(np.mean(spacing_mm[1:]))
    deepest = _DEEPEST if len(mask) > 1 else _DEEPEST_ALONE
    short = (full - reach > _LEAST_MM / pixel_mm) & (reach > (1 - deepest) * full)
    # Where the wall is only inferred, it is known to some millimetres.
    inferred = full - reach > _DEEP_MM / pixel_mm
    full = np.where(short, full + inferred * (_MARGIN_MM / pixel_mm), 0)
    between = rays.radius < full[:, rays.angle]
    between &= (rays.radius > reach[:, rays.angle] - 1) & ~mask
    added = opened(between & (hu < _BONE_HU), 2)
    side = np.where(np.arange(mask.shape[2]) < middle, RIGHT, LEFT).astype(np.uint8)
    return np.where(added, side, sides)


def _middle(mask: Mask) -> float:
    """Column half way between the outer edges of the lungs, in most of the slices that hold both.

    Slices in which the lungs are half as wide as anywhere may hold one of them.
    """
    columns: Mask = np.asarray(mask.any(axis=1))
    first = np.argmax(columns, axis=1)
    last = columns.shape[1] - 1 - np.argmax(columns[:, ::-1], axis=1)
    width = np.where(columns.any(axis=1), last - first, 0)
    wide = width > 0.5 * width.max()
    return float(np.median((first + last)[wide]) / 2)


def _from_back() -> NDArray[np.int64]:
    """Rays between each ray and the back's middle."""
    rays = np.arange(_RAYS)
    return np.minimum(rays, _RAYS - 1 - rays)


def _expected(reach: Reach, slice_mm: float) -> Reach:
    """How far healthy lungs would reach: as beside, above and below, and as the other side does."""
    from_back = _from_back()
    at_spine = (from_back < _SPINE) | (from_back > _RAYS // 2 - _SPINE)
    beside = ndimage.grey_closing(reach, (1, _DIP), mode="wrap")
    beside[:, at_spine] = 0
    if len(reach) == 1:  # one picture says too little about the other side
        return np.maximum(reach, beside)
    half = max(1, round(_TALL_MM / slice_mm / 2))
    ended = np.pad(reach, ((2 * half, 2 * half), (0, 0)))
    above = ndimage.grey_closing(ended, (2 * half + 1, 1))[2 * half : -2 * half]
    other = _as_the_other_side(np.maximum(reach, beside))
    in_front = from_back > _FRONT
    above[:, in_front], other[:, in_front] = 0, 0
    # On the left the aorta lies beside the spine, on the right there is lung.
    other[:, (from_back < _AORTA) & (np.arange(_RAYS) >= _RAYS // 2)] = 0
    full: Reach = np.maximum.reduce([reach, beside, above, other])
    return full


def _as_the_other_side(reach: Reach) -> Reach:
    """The other side's reach, corrected by how much the sides differ in most slices."""
    # The edge of the spine is steep: a patient turned by a degree or two may not matter.
    other = ndimage.maximum_filter1d(reach[:, ::-1], 3, axis=1, mode="wrap")
    both = (reach > 0) & (other > 0)
    differs = np.where(both, reach - other, np.nan)
    bias = np.zeros(_RAYS, dtype=np.float32)
    known = both.sum(axis=0) >= 3
    bias[known] = np.nanmedian(differs[:, known], axis=0)
    return np.where(other > 0, other + bias, 0)
