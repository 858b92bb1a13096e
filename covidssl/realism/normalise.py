"""Nominal HU for slices that are not HU: two anchors of each slice's own.

Slices that were rescaled one by one do not compare; aerated lung and soft tissue are in nearly all
of them, so each slice is mapped such that those two lie where they lie in HU.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

AERATED_HU = -850.0
SOFT_TISSUE_HU = 40.0
RANGE_HU = (-1200.0, 140.0)
"""Nominal HU are clipped to it: above and below, 8-bit slices of lung windows hold nothing."""

_LEAST_PIXELS = 150
_BINS = 256
_FAT_SHARE = 0.09

Slice = NDArray[np.generic]
Mask = NDArray[np.bool_]


class Anchors(NamedTuple):
    """A slice's own values of its two anchors."""

    aerated: float
    soft_tissue: float


def anchors(values: Slice, lungs: Mask, lesions: Mask) -> Anchors | None:
    """The anchors of one slice; None where it shows too little of either tissue.

    Aerated lung is the commonest value well inside the lungs and away from marked lesions: faint
    ground glass that nobody marked would shift a median. Soft tissue is the median of what lies
    between the lungs and is denser than fat.

    Args:
        values: (H, W), larger is denser.
        lungs: (H, W), the lungs.
        lesions: (H, W), marked lesions; they serve as neither anchor.
    """
    near_lesion = ndimage.binary_dilation(lesions, iterations=6)
    aerated = values[ndimage.binary_erosion(lungs, iterations=2) & ~near_lesion]
    outside = _between(lungs) & ~ndimage.binary_dilation(lungs | lesions, iterations=3)
    if aerated.size < _LEAST_PIXELS:
        return None
    low = _commonest(aerated.astype(np.float64))
    around = values[outside].astype(np.float64)
    dense = around[around > (low + float(values.max())) / 2]
    if dense.size < _LEAST_PIXELS:
        return None
    middle = float(np.median(dense))
    dense = dense[dense > middle - _FAT_SHARE * (middle - low)]
    return Anchors(low, float(np.median(dense)))


def nominal_hu(values: Slice, found: Anchors) -> NDArray[np.float32]:
    """The slice with its anchors at -850 and +40 HU, clipped to `RANGE_HU`."""
    scale = (SOFT_TISSUE_HU - AERATED_HU) / (found.soft_tissue - found.aerated)
    hu = (values.astype(np.float32) - found.aerated) * scale + AERATED_HU
    return np.clip(hu, *RANGE_HU).astype(np.float32)


def _between(lungs: Mask) -> Mask:
    """The rectangle about the lungs, (H, W): heart, great vessels, vertebra."""
    rows, columns = np.flatnonzero(lungs.any(1)), np.flatnonzero(lungs.any(0))
    between = np.zeros_like(lungs)
    if rows.size:
        between[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return between


def _commonest(values: NDArray[np.float64]) -> float:
    """Peak of the smoothed histogram."""
    low, high = np.percentile(values, (0.5, 99.5))
    if not high > low:
        return float(low)
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    # Smoothed by 4 % of the range: whole-numbered values leave gaps between bins.
    peak = int(ndimage.gaussian_filter1d(counts.astype(np.float64), 0.04 * _BINS).argmax())
    return float((edges[peak] + edges[peak + 1]) / 2)
