"""What one lesion looks like, in numbers: density, border, size, texture and place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covidssl.realism.normalise import RANGE_HU
from covidssl.realism.regions import Region

NAMES = (
    "diameter_mm",
    "inside_hu",
    "ring_hu",
    "edge_hu_per_mm",
    "edge_width_mm",
    "texture_sd_hu",
    "spectrum_slope",
    "depth_mm",
    "posterior",
)
UNITS = {
    "diameter_mm": "mm",
    "inside_hu": "HU",
    "ring_hu": "HU",
    "edge_hu_per_mm": "HU/mm",
    "edge_width_mm": "mm",
    "texture_sd_hu": "HU",
    "spectrum_slope": "",
    "depth_mm": "mm",
    "posterior": "",
}
BINS_HU: NDArray[np.float64] = np.arange(RANGE_HU[0], RANGE_HU[1] + 1, 20.0)
PROFILE_MM: NDArray[np.float64] = np.arange(-9.0, 16.0, 1.5)
"""Middles of the bins of distance from the border; negative is inside the lesion."""

_RING_MM = (2.0, 8.0)
_FAR_MM = (6.0, 12.0)
_SLOPE_MM = 2.25
_LEAST_PIXELS = 8
_WINDOW_PX = 16
_WINDOW_FILLED = 0.6
_BAND_CYCLES_PER_PX = (0.11, 0.45)


@dataclass(frozen=True)
class Described:
    """Descriptors of R lesions, NaN where one cannot be measured.

    Attributes:
        values: (R, len(NAMES)), columns as in `NAMES`.
        inside: (R, bins) share of the lesion's pixels in each bin of `BINS_HU`.
        ring: (R, bins) the same for lung 2 to 8 mm from the lesion.
        profile: (R, len(PROFILE_MM)) mean HU at a distance from the border.
        cluster: (R,) case x block of neighbouring slices.
    """

    values: NDArray[np.float64]
    inside: NDArray[np.float64]
    ring: NDArray[np.float64]
    profile: NDArray[np.float64]
    cluster: NDArray[np.int64]

    def column(self, name: str) -> NDArray[np.float64]:
        """One descriptor, (R,)."""
        return self.values[:, NAMES.index(name)]


def describe(found: Sequence[Region]) -> Described:
    """Descriptors of lesions: sizes in mm, densities in nominal HU.

    `diameter_mm` is that of the disc of the same area. `edge_hu_per_mm` is the slope of HU over
    the distance across the border within 2.25 mm of it, only where lung is on the other side;
    `edge_width_mm` is the step from inside to 6 to 12 mm outside, divided by it: the pixels let
    it be no less than some 3.5 mm. `texture_sd_hu` is the
    standard deviation inside, 2 mm off the border. `spectrum_slope` is that of the radially
    averaged power over frequency (log-log). `depth_mm` is the mean distance to the pleura.
    """
    rows = [_describe_one(region) for region in found]
    bins, steps = len(BINS_HU) - 1, len(PROFILE_MM)
    return Described(
        values=np.array([row[0] for row in rows]).reshape(-1, len(NAMES)),
        inside=np.array([row[1] for row in rows]).reshape(-1, bins),
        ring=np.array([row[2] for row in rows]).reshape(-1, bins),
        profile=np.array([row[3] for row in rows]).reshape(-1, steps),
        cluster=np.array([region.cluster for region in found], dtype=np.int64),
    )


def _describe_one(
    region: Region,
) -> tuple[list[float], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    signed = border_distance_mm(region)
    ring = (signed > _RING_MM[0]) & (signed <= _RING_MM[1])
    inside_hu = region.hu[region.mask]
    ring_hu = region.hu[ring] if ring.sum() >= _LEAST_PIXELS else np.empty(0)
    middle = float(np.median(inside_hu))
    around = float(np.median(ring_hu)) if ring_hu.size else np.nan
    gradient = _edge_gradient(region, signed)
    far = region.hu[(signed > _FAR_MM[0]) & (signed <= _FAR_MM[1])]
    step = middle - float(np.median(far)) if far.size >= _LEAST_PIXELS else np.nan
    width = step / gradient if gradient > 5 else np.nan
    core = region.mask & (signed < -2.0)
    values = {
        "diameter_mm": 2 * np.sqrt(region.mask.sum() * region.pixel_mm**2 / np.pi),
        "inside_hu": middle,
        "ring_hu": around,
        "edge_hu_per_mm": gradient,
        "edge_width_mm": width,
        "texture_sd_hu": region.hu[core].std() if core.sum() >= _LEAST_PIXELS else np.nan,
        "spectrum_slope": _slope_inside(region),
        "depth_mm": region.depth_mm[region.mask].mean(),
        "posterior": region.posterior,
    }
    row = [float(values[name]) for name in NAMES]
    return row, _shares(inside_hu), _shares(ring_hu), _profile(region, signed)


def border_distance_mm(region: Region) -> NDArray[np.float64]:
    """Distance (h, w) from the lesion's border to lung: negative inside, NaN outside the lungs.

    What the lesion shares with the pleura is no border: there the distance is to the nearest
    lung, and infinite where the crop holds none. Other lesions of the slice are NaN.
    """
    lung = region.lungs & ~region.lesions
    signed = np.full(region.mask.shape, np.nan)
    outwards = ndimage.distance_transform_edt(~region.mask) - 0.5
    signed[lung] = outwards[lung] * region.pixel_mm
    if lung.any():
        inwards = ndimage.distance_transform_edt(~lung) - 0.5
        signed[region.mask] = -inwards[region.mask] * region.pixel_mm
    else:
        signed[region.mask] = -np.inf
    return signed


def spectrum_slope(window: NDArray[np.floating], mask: NDArray[np.bool_] | None = None) -> float:
    """Slope of log power over log frequency of a square window, radially averaged.

    Args:
        window: (n, n) values.
        mask: (n, n) pixels that count; the others are put to the mean of these.
    """
    n = window.shape[0]
    mask = np.ones(window.shape, dtype=bool) if mask is None else mask
    values = np.where(mask, window - window[mask].mean(), 0.0)
    taper = np.hanning(n + 2)[1:-1]
    power = np.abs(np.fft.fft2(values * np.outer(taper, taper))) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n), indexing="ij"))
    edges = np.geomspace(*_BAND_CYCLES_PER_PX, 6)
    which = np.digitize(radius, edges)
    frequency, mean = [], []
    for number in range(1, len(edges)):
        inside = which == number
        if inside.any() and power[inside].mean() > 0:
            frequency.append(np.log(radius[inside]).mean())
            mean.append(np.log(power[inside].mean()))
    return float(np.polyfit(frequency, mean, 1)[0]) if len(mean) >= 3 else float("nan")


def _slope_inside(region: Region) -> float:
    """Spectrum slope of a 16 pixel window at the lesion's deepest place."""
    half = _WINDOW_PX // 2
    depth = ndimage.distance_transform_edt(np.pad(region.mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    mask = np.pad(region.mask, half)[y : y + _WINDOW_PX, x : x + _WINDOW_PX]
    if mask.mean() < _WINDOW_FILLED:
        return float("nan")
    window = np.pad(region.hu, half, mode="edge")[y : y + _WINDOW_PX, x : x + _WINDOW_PX]
    return spectrum_slope(window, mask)


def _edge_gradient(region: Region, signed: NDArray[np.float64]) -> float:
    near = np.abs(signed) <= _SLOPE_MM
    if (near & region.mask).sum() < _LEAST_PIXELS or (near & ~region.mask).sum() < _LEAST_PIXELS:
        return float("nan")
    return float(-np.polyfit(signed[near], region.hu[near], 1)[0])


def _profile(region: Region, signed: NDArray[np.float64]) -> NDArray[np.float64]:
    half = (PROFILE_MM[1] - PROFILE_MM[0]) / 2
    means = np.full(len(PROFILE_MM), np.nan)
    for k, middle in enumerate(PROFILE_MM):
        at = (signed > middle - half) & (signed <= middle + half)
        if at.any():
            means[k] = region.hu[at].mean()
    return means


def _shares(hu: NDArray[np.floating]) -> NDArray[np.float64]:
    if not hu.size:
        return np.full(len(BINS_HU) - 1, np.nan)
    counts = np.histogram(np.clip(hu, BINS_HU[0], BINS_HU[-1] - 1e-3), BINS_HU)[0]
    return counts / counts.sum()
