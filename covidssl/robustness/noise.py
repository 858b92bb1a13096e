"""Noise of a lower dose, in HU and with the spectrum of CT."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from covidssl.altering import Key, Opened
from covidssl.randomness import numpy_generator
from covidssl.robustness.scale import Plane, each_plane, scale_of
from covidssl.volume import Volume

FULL_DOSE_HU = 15.0
"""Noise (SD) of the dose that scans are taken for, in slices of `REFERENCE_MM`: assumed, not
measured in them."""

REFERENCE_MM = 5.0
"""Thickness of the slices in which noise is stated, as scanners' protocols state it."""

CUTOFF_PER_MM = 0.9
"""Where the kernel's roll-off ends, in cycles per mm: the noise is strongest near 0.28 per mm."""

_STREAM = 162


def added_noise_hu(dose: float, thickness_mm: float = REFERENCE_MM) -> float:
    """SD in HU of what must be added for a share of the dose, over all frequencies of the kernel.

    Variance goes with 1 / (dose x thickness) (Brooks and Di Chiro 1976), and variances add up.
    """
    return FULL_DOSE_HU * math.sqrt((1 / dose - 1) * REFERENCE_MM / thickness_mm)


def lower_dose(scan: Opened, dose: float, key: Key) -> Volume:
    """A scan with the noise of a share `dose` of its dose.

    The spectrum is that of filtered back projection, frequency times the square of the kernel's
    roll-off (Riederer, Pelc and Chesler 1978): none at 0, which white noise would have. Of it a
    picture holds what its pixels can show, so that larger pixels have less noise. Slices are
    independent, and taken for as thick as they are far apart; those of single pictures for 5 mm
    thick. It is the same all over the picture; in a patient there is more at the centre.
    """
    ct, scale = scan.ct, scale_of(scan)
    response = ramp_response(ct.array.shape[1:], (scale.y, scale.x))
    sd = np.float32(added_noise_hu(dose, scale.z or REFERENCE_MM))

    def alter(plane: Plane, z: int) -> Plane:
        return plane + sd * ct_noise(response, plane.shape, numpy_generator(*key, _STREAM, z))

    return each_plane(ct, alter)


def ct_noise(
    response: NDArray[np.float32], shape: tuple[int, ...], generator: np.random.Generator
) -> Plane:
    """Noise (Y, X) of mean 0 with the amplitudes `response` of `rfft2`."""
    white = generator.standard_normal(shape, dtype=np.float32)
    return np.asarray(fft.irfft2(fft.rfft2(white) * response, s=shape), dtype=np.float32)


def ramp_response(shape: tuple[int, ...], pixel_mm: tuple[float, float]) -> NDArray[np.float32]:
    """Amplitudes (Y, X // 2 + 1) that give white noise of SD 1 the spectrum of CT.

    Its SD is 1 over all frequencies of the kernel, and less where pixels are too large for some.
    """
    rows = fft.fftfreq(shape[0], pixel_mm[0])[:, None]
    columns = fft.rfftfreq(shape[1], pixel_mm[1])[None]
    radius = np.hypot(rows, columns)
    roll = np.where(radius < CUTOFF_PER_MM, 0.5 + 0.5 * np.cos(np.pi * radius / CUTOFF_PER_MM), 0)
    # The integral of radius * roll**2 over the plane of frequencies.
    whole = 2 * math.pi * CUTOFF_PER_MM**3 * (1 / 8 - 15 / (16 * math.pi**2))
    density = radius * roll**2 / whole
    return np.sqrt(density / (pixel_mm[0] * pixel_mm[1])).astype(np.float32)
