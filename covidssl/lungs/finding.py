"""The one way in: which way the lungs of a CT are found, and what is wrong with what was found."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.hounsfield import LUNG_WINDOW_HU, Pixels, Window, hu_to_unit
from covidssl.lungs.flags import flags_of
from covidssl.lungs.learnt import learnt_lungs
from covidssl.lungs.levels import LUNG_BELOW_HU, hu_of_windowed
from covidssl.lungs.planes import LEAST_SHARE, plane_lungs
from covidssl.lungs.result import Lungs
from covidssl.lungs.stack import stack_lungs
from covidssl.volume import Volume

Mask = NDArray[np.bool_]
Method = Literal["threshold", "lungmask"]

REVISION = 3
"""Raised when masks change: caches and stores are made again."""

MOST_SHARE = 0.85


def segment_lungs(
    ct: Volume, window: Window = LUNG_WINDOW_HU, method: Method = "threshold"
) -> Lungs:
    """Find the lungs of a CT, vessels and lesions inside them included.

    Whole scans are worked on in 3D; in windowed ones each slice's own levels of lung and tissue
    stand for HU, since nobody knows their window. Single pictures are worked on in 2D.

    Args:
        ct: upright HU or windowed scan, or a single picture.
        window: for a single picture in HU: the grey scale (HU) on which lung, gas and tissue are
            told apart.
        method: `threshold` needs no weights; `lungmask` is the network R231 of the package
            lungmask, for HU, where its weights are in place.

    Raises:
        ScanError: when `lungmask` is asked for and the scan is not in HU.
        UsageError: when lungmask or its weights are not there.
    """
    if method == "lungmask":
        return lungs_of(ct, *learnt_lungs(ct))
    return lungs_of(ct, *_found(ct, window))


def lung_mask(ct: Volume) -> Volume:
    """The lungs of a CT as a mask on its grid.

    Raises:
        ScanError: when no lungs are found, or the mask is absurdly small or large.
    """
    lungs = segment_lungs(ct)
    if lungs.problem is not None:
        raise ScanError(f"{ct.source}: {lungs.problem}", code="no_lungs")
    return lungs.mask


def lungs_of(ct: Volume, mask: Mask, sides: NDArray[np.uint8] | None) -> Lungs:
    """A mask (Z, Y, X) with all that is said about it."""
    share = mask.mean(axis=(1, 2)).astype(np.float32)
    problem = _problem(float(share.max()))
    spacing_mm = known_spacing(ct)
    flags = () if problem else flags_of(mask, sides, spacing_mm)
    return Lungs(ct.mask(mask), share, problem, sides, flags, spacing_mm is not None)


def known_spacing(ct: Volume) -> tuple[float, float, float] | None:
    """The voxel size; None where nobody knows it: 8-bit volumes that say 1 mm all round."""
    # What a program writes that was given no spacing; pictures made into volumes mostly are.
    if ct.pixels is not Pixels.HU and ct.spacing_mm == (1.0, 1.0, 1.0):
        return None
    return ct.spacing_mm


def _found(ct: Volume, window: Window) -> tuple[Mask, NDArray[np.uint8]]:
    if len(ct.array) == 1:
        sides = _plane(ct, window)[np.newaxis]
        return sides > 0, sides
    if ct.pixels is Pixels.HU:
        return stack_lungs(ct.array, ct.spacing_mm)
    hu = hu_of_windowed(ct.array.astype(np.uint8, copy=False))
    if hu is None:
        shape = ct.array.shape
        return np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.uint8)
    return stack_lungs(hu, known_spacing(ct))


def _plane(ct: Volume, window: Window) -> NDArray[np.uint8]:
    plane = ct.array[0]
    if ct.pixels is not Pixels.HU:
        return plane_lungs(plane.astype(np.uint8, copy=False))
    threshold = 255.0 * float(hu_to_unit(np.array(LUNG_BELOW_HU), window))
    return plane_lungs(np.rint(255 * hu_to_unit(plane, window)).astype(np.uint8), threshold)


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
