"""How much of the lungs is lesion: in per cent of their volume and in ml, both and by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covidssl.answers import Burden, LungBurden
from covidssl.lungs import LEFT, RIGHT, Lungs

Shares = NDArray[np.float32]


def burden_of(
    lungs: Lungs,
    lesion: NDArray[np.bool_],
    inside: Shares,
    right: Shares | None,
    at: NDArray[np.float64],
) -> Burden:
    """The burden of a scan, from some of its planes.

    Args:
        lungs: of the scan.
        lesion: (N, size, size), which pixels count as lesion.
        inside: share of lung in each of them.
        right: share of the right lung; None where the sides are not told apart, or nothing is known
            of how the scan lies.
        at: (N,) where along the body the planes lie; one stands for what is nearest to it.
    """
    thick = np.gradient(at) if len(at) > 1 else np.ones(1)
    voxels = _voxels(lungs)
    both = _percent(lesion, inside, thick)
    if right is None or lungs.sides is None:
        return Burden(both=_said(both, voxels["both"], lungs))
    left = np.maximum(inside - right, 0)
    return Burden(
        both=_said(both, voxels["both"], lungs),
        right=_side(_percent(lesion, right, thick), voxels["right"], lungs),
        left=_side(_percent(lesion, left, thick), voxels["left"], lungs),
    )


def _percent(lesion: NDArray[np.bool_], inside: Shares, thick: NDArray[np.float64]) -> float:
    of_planes = inside.sum(axis=(1, 2), dtype=np.float64)
    found = (inside * lesion).sum(axis=(1, 2), dtype=np.float64)
    whole = float(of_planes @ thick)
    return min(100 * float(found @ thick) / whole, 100.0) if whole else 0.0


def _voxels(lungs: Lungs) -> dict[str, int]:
    if lungs.sides is None:
        return {"both": int(np.count_nonzero(lungs.mask.array))}
    counts = np.bincount(lungs.sides.reshape(-1), minlength=3)
    return {
        "both": int(np.count_nonzero(lungs.mask.array)),
        "right": int(counts[RIGHT]),
        "left": int(counts[LEFT]),
    }


def _side(percent: float, voxels: int, lungs: Lungs) -> LungBurden | None:
    """None where no such lung was found."""
    return _said(percent, voxels, lungs) if voxels else None


def _said(percent: float, voxels: int, lungs: Lungs) -> LungBurden:
    if lungs.mask.spacing_mm is None or not lungs.spacing_known:
        return LungBurden(percent=percent)
    lung_ml = voxels * float(np.prod(lungs.mask.spacing_mm)) / 1000
    return LungBurden(percent=percent, lesion_ml=lung_ml * percent / 100, lung_ml=lung_ml)
