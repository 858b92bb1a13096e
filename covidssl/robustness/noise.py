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
"""Noise (SD) of the dose that scans are taken for: assumed, not measured in them."""

CUTOFF_PER_MM = 0.9
"""Where the kernel's roll-off ends, in cycles per mm: the noise is strongest near 0.28 per mm."""

_STREAM = 162


def added_noise_hu(dose: float) -> float:
    """SD in HU of what must be added for a share of the dose.

    Variance goes with the inverse of the dose (Brooks and Di Chiro 1976), and variances add up.
    """
    return FULL_DOSE_HU * math.sqrt(1 / dose - 1)


def lower_dose(scan: Opened, dose: float, key: Key) -> Volume:
    """A scan with the noise of a share `dose` of its dose.

    The spectrum is that of filtered back projection, frequency times the square of the kernel's
    roll-off (Riederer, Pelc and Chesler 1978): none at 0, which white noise would have. Slices are
    independent. It is the same all over the picture; in a patient there is more at the centre.
    """
    ct, scale = scan.ct, scale_of(scan)
    response = ramp_response(ct.array.shape[1:], (scale.y, scale.x))
    sd = np.float32(added_noise_hu(dose))

    def alter(plane: Plane, z: int) -> Plane:
        return plane + sd * ct_noise(response, plane.shape, numpy_generator(*key, _STREAM, z))

    return each_plane(ct, alter)


def ct_noise(
    response: NDArray[np.float32], shape: tuple[int, ...], generator: np.random.Generator
) -> Plane:
    """Noise (Y, X) of mean 0 and SD 1 with the amplitudes `response` of `rfft2`."""
    white = generator.standard_normal(shape, dtype=np.float32)
    return np.asarray(fft.irfft2(fft.rfft2(white) * response, s=shape), dtype=np.float32)


def ramp_response(shape: tuple[int, ...], pixel_mm: tuple[float, float]) -> NDArray[np.float32]:
    """Amplitudes (Y, X // 2 + 1) that give white noise of SD 1 the spectrum of CT, and SD 1."""
    rows = fft.fftfreq(shape[0], pixel_mm[0])[:, None]
    columns = fft.fftfreq(shape[1], pixel_mm[1])[None]
    radius = np.hypot(rows, columns)
    roll = np.where(radius < CUTOFF_PER_MM, 0.5 + 0.5 * np.cos(np.pi * radius / CUTOFF_PER_MM), 0)
    power = radius * roll**2
    amplitude = np.sqrt(power / power.mean())
    return amplitude[:, : shape[1] // 2 + 1].astype(np.float32)
