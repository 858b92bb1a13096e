"""Dense lung between the right lung and the spine, which no ray from the chest's middle shows.

Behind the heart the right lung lies against the spine; on the left the aorta lies between. Where
the lung is diseased up to its outline there, the outline is where disease became as dense as the
tissue beside it, and the lung goes on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covidssl.lungs.result import RIGHT

HU = NDArray[np.float32]
Mask = NDArray[np.bool_]
Sides = NDArray[np.uint8]
Spacing = tuple[float, float, float]

_DISEASED_HU = -650.0
_DEPTH_MM = 10.0
_MARGIN_MM = 5.0
_BONE_HU = 180.0
_LENGTH_MM = 20.0  # one vessel or one blurred row at the outline is shorter


def beside_the_spine(sides: Sides, hu: HU, spacing_mm: Spacing) -> Sides:
    """The lungs with a margin between the diseased right lung and the spine.

    Args:
        sides: (Z, Y, X) 1 for the patient's right lung, 2 for the left, upright.
        hu: of the same grid.
        spacing_mm: of that grid, (z, y, x).
    """
    right = sides == RIGHT
    rows = np.flatnonzero(right.any(axis=(0, 2)))
    if not rows.size:
        return sides
    first = (int(rows[0]) + int(rows[-1])) // 2 + 1
    behind = np.s_[:, first : int(rows[-1]) + 1]
    out = sides.copy()
    added = _margin(right[behind], hu[behind], spacing_mm) & (out[behind] == 0)
    out[behind][added] = RIGHT
    return out


def _margin(right: Mask, hu: HU, spacing_mm: Spacing) -> Mask:
    """What lies within the margin of the outline towards the spine, up to bone."""
    columns = np.arange(right.shape[2])
    edge = right.shape[2] - 1 - np.argmax(right[:, :, ::-1], axis=2)[:, :, None]
    depth, margin = (max(1, round(mm / spacing_mm[2])) for mm in (_DEPTH_MM, _MARGIN_MM))
    inner = right & (columns > edge - depth)
    mean = np.sum(hu, axis=2, where=inner) / np.maximum(np.count_nonzero(inner, axis=2), 1)
    diseased = right.any(axis=2) & (ndimage.median_filter(mean, (1, 3)) > _DISEASED_HU)
    long = [max(1, round(_LENGTH_MM / mm)) for mm in spacing_mm[:2]]
    diseased = ndimage.binary_opening(diseased, np.ones(long))
    near = (columns > edge) & (columns <= edge + margin)
    bone = (ndimage.uniform_filter(hu, (1, 3, 1)) > _BONE_HU) & near
    before_bone = ~np.logical_or.accumulate(bone, axis=2)
    found: Mask = diseased[:, :, None] & near & before_bone
    return found
