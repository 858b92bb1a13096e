"""How sharp a scan is: the kernel in the slice, the thickness across it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from covidssl.altering import DoesNotApplyError, Key, Opened
from covidssl.robustness.filtering import filtered
from covidssl.robustness.scale import in_hu, must_be_a_stack, scale_of, storing
from covidssl.volume import Volume

Frequencies = NDArray[np.float64]
FWHM_BY_SD = 2 * math.sqrt(2 * math.log(2))
SHARPEN_FWHM_MM = 1.5
STATED_PER_MM = 0.5
"""The frequency, in cycles per mm, at which the gain of a sharper kernel is stated."""


def smoother(scan: Opened, fwhm_mm: float, _key: Key) -> Volume:
    """A smoother kernel: slices blurred by a Gaussian of this full width at half maximum."""
    return filtered(
        scan.ct, scale_of(scan), 2 * fwhm_mm, lambda y, x: _mtf(fwhm_mm, np.hypot(y, x))
    )


def sharper(scan: Opened, gain: float, _key: Key) -> Volume:
    """A sharper kernel: the MTF is multiplied by `gain` at 0.5 cycles per mm, by 1 at 0.

    Unsharp masking with a Gaussian of 1.5 mm: what it would blur away is added. Noise is sharpened
    with the rest, as by a kernel.
    """
    amount = (gain - 1) / (1 - _mtf(SHARPEN_FWHM_MM, np.array(STATED_PER_MM)))

    def response(y: Frequencies, x: Frequencies) -> Frequencies:
        return np.asarray(1 + amount * (1 - _mtf(SHARPEN_FWHM_MM, np.hypot(y, x))))

    return filtered(scan.ct, scale_of(scan), 2 * SHARPEN_FWHM_MM, response)


def thicker(scan: Opened, thickness_mm: float, _key: Key) -> Volume:
    """Slices of this thickness, as far apart as they are thick.

    The profile of a slice is taken for a box: each new slice is the mean of what lies within it,
    slices at its borders by their share. What is left over at the head's end is left out.

    Raises:
        DoesNotApplyError: for a single picture, slices as far apart already, or a stack less thick.
    """
    ct, scale = scan.ct, scale_of(scan)
    z_mm = must_be_a_stack(ct, scale.z)
    if thickness_mm <= z_mm:
        raise DoesNotApplyError(
            f"{ct.source}: slices are {z_mm:.3g} mm apart already, {thickness_mm:g} mm is no more"
        )
    shares = _shares(len(ct.array), thickness_mm / z_mm)
    if not len(shares):
        raise DoesNotApplyError(f"{ct.source}: the stack is less than {thickness_mm:g} mm thick")
    store = storing(ct)
    planes = []
    for row in shares:
        places = np.flatnonzero(row)
        parts = in_hu(ct, ct.array[places[0] : places[-1] + 1])
        planes.append(store(np.tensordot(row[places], parts, axes=1)))
    ratio = thickness_mm / z_mm
    affine = ct.affine
    if affine is not None:
        affine = affine.copy()
        affine[:3, 3] += affine[:3, 2] * (ratio / 2 - 0.5)
        affine[:3, 2] *= ratio
    spacing = ct.spacing_mm
    # A spacing that was not believed (1 x 1 x 1 mm of 8-bit slices) must not come to look measured.
    if spacing is not None and not scale.assumed:
        spacing = (spacing[0] * ratio, *spacing[1:])
    return replace(ct, array=np.stack(planes), affine=affine, spacing_mm=spacing)


def _shares(slices: int, ratio: float) -> NDArray[np.float32]:
    """By how much each slice counts in each thick one: (slices // ratio, slices), rows sum to 1."""
    # A hair is added, so that 4 slices of 2.5 mm make two of 5 mm whatever the rounding.
    count = int(slices / ratio + 1e-6)
    begins = np.arange(count)[:, None] * ratio
    own = np.arange(slices)[None]
    covered = np.minimum(own + 1, begins + ratio) - np.maximum(own, begins)
    shares = np.where(covered > 1e-6, covered, 0)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float32)


def _mtf(fwhm_mm: float, per_mm: Frequencies) -> Frequencies:
    """What a Gaussian blur leaves of frequencies in cycles per mm."""
    return np.asarray(np.exp(-2 * (np.pi * fwhm_mm / FWHM_BY_SD * per_mm) ** 2))
