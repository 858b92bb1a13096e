"""Whether HU still hold an offset of 1024: what air and soft tissue prove, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

OFFSET = 1024
"""What scanners add to HU to store them without a sign."""

_SAMPLE = 200_000
_HIGHEST_STORED = 4095
# Where the peaks of air and of soft tissue are looked for once the offset is off, and where they
# must lie. The lungs prove nothing: they are denser in one patient than in another.
_AIR_HU, _AIR_PEAK_HU = (-1024, -940), (-1016, -984)
_TISSUE_HU, _TISSUE_PEAK_HU = (-50, 200), (0, 80)
_LEAST_PEAK = 0.03
_PEAK_WIDTH = 9
_MOST_FLANK = 0.9


def offset_peaks(array: NDArray[Any]) -> tuple[int, int] | None:
    """Stored values at the peaks of air and of soft tissue; None unless they prove the offset.

    Two peaks a thousand apart, each where an offset of 1024 puts it: with another offset, air is
    cut off or lies elsewhere. A scan whose air was cut off proves nothing.

    Args:
        array: stored values, shape (Z, Y, X).
    """
    sample = np.rint(sampled(array, _SAMPLE)).astype(np.int64)
    sample = sample[sample >= 0]
    # Another offset, clipped, has a constant here, and half a peak above it.
    first = int(sample.min(initial=_HIGHEST_STORED)) + 1
    found = []
    for (low, high), (least, most) in (
        (_AIR_HU, _AIR_PEAK_HU), (_TISSUE_HU, _TISSUE_PEAK_HU),
    ):  # fmt: skip
        peak = _peak(sample, max(low + OFFSET, first), high + OFFSET)
        if peak is None or not least <= peak - OFFSET <= most:
            return None
        found.append(peak)
    return found[0], found[1]


def _peak(values: NDArray[np.int64], low: int, high: int) -> int | None:
    """The commonest value in a range, if enough lie there and fewer towards both of its ends."""
    inside = values[(values >= low) & (values <= high)]
    if high - low < _PEAK_WIDTH or inside.size < _LEAST_PEAK * values.size:
        return None
    # Single values are jagged by noise.
    near = np.convolve(
        np.bincount(inside - low, minlength=high - low + 1), np.ones(_PEAK_WIDTH), "valid"
    )
    at = int(near.argmax())
    if max(near[0], near[-1]) > _MOST_FLANK * near[at]:
        return None
    return low + at + _PEAK_WIDTH // 2


def sampled(array: NDArray[Any], count: int) -> NDArray[Any]:
    """About `count` voxels from a grid over at most 16 to 31 slices, without a copy of the rest."""
    slices = array[:: max(1, len(array) // 16)]
    step = max(1, int((slices.size / count) ** 0.5))
    return slices[:, ::step, ::step].reshape(-1)
