"""Streaks from metal: two rods along the body, projected, hardened, starved, and projected back.

What a scanner reckons wrongly about a rod is in the paths through it: the beam is hardened, so that
they seem shorter than they are, and so few photons come through that they are noisy. That error is
known for a rod of round section without projecting the patient, and filtered back projection of it
is what the picture shows wrongly: dark bands between rods, streaks about them (De Man et al. 1999).
What the patient's own bones add to it is left out. Hardening is the same in every slice, since the
rods are; the photons are counted anew in each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from covidssl.altering import DoesNotApplyError, Key, Opened
from covidssl.box import Box, lungs_region
from covidssl.randomness import numpy_generator
from covidssl.robustness.scale import Plane, Scale, in_hu, scale_of, storing
from covidssl.volume import Volume

SPECTRUM = ((0.225, 1.333), (0.465, 0.517), (0.310, 0.280))
"""Shares of what a detector sees behind a chest, and what a mm of steel takes of each: a beam of
120 kV (Kramers) behind 8 mm of aluminium and 230 mm of water, energy integrating, attenuations of
NIST; three parts follow it within 0.01 from 1 to 8 mm for two rods in line."""

WATER_PER_MM = 0.0193
"""Attenuation at 70 keV; 0.001 of it is one HU."""

PHOTONS_PER_MM = 2.0e5
"""That reach a millimetre of a row of detectors through air, in one view."""

PATIENT_PATH = 4.5
"""Typical path through a chest: about 230 mm of water."""

FEWEST_PHOTONS = 10.0
"""So many are counted at least: the noise of a logarithm is no longer 1/N below, and detectors
have noise of their own there."""

METAL_HU = 3071.0
APART_MM = (25.0, 60.0)
"""How far two rods lie from each other."""

_STREAM = 164
_ANGLES, _MOST_PIXELS, _TRIES = 360, 256, 64
_FINER, _AT_ONCE = 4, 16  # places between two detector elements, and slices in memory together
_BODY_HU = -200.0


class Rod(NamedTuple):
    """The middle of a rod: rows and columns in mm from the centre of the picture."""

    y: float
    x: float


def metal(scan: Opened, diameter_mm: float, key: Key) -> Volume:
    """A scan with two steel rods along the body, in the tissue beside the lungs.

    Places are drawn from the key: the same for each diameter. The rods go through the middle half
    of the lungs' slices, or through all slices where no lungs are known.

    Raises:
        DoesNotApplyError: when no tissue is found for them.
    """
    ct, scale = scan.ct, scale_of(scan)
    region = lungs_region(np.asarray(scan.lungs.mask.array, dtype=bool))
    usable = region if scan.lungs.usable else None
    slices = usable.slices if usable else range(len(ct.array))
    quarter = len(slices) // 4
    slices = range(slices.start + quarter, slices.stop - quarter)
    rods = _placed(scan, slices, usable.box if usable else None, numpy_generator(*key, _STREAM))
    shape = ct.array.shape[1:]
    draws = [numpy_generator(*key, _STREAM, z) for z in slices]
    inside = _inside(rods, diameter_mm, scale, shape)
    store = storing(ct)
    array = ct.array.copy()
    for z, wrong in zip(slices, streaks_hu(rods, diameter_mm, scale, shape, draws), strict=True):
        array[z] = store(np.where(inside, METAL_HU, in_hu(ct, ct.array[z]) + wrong))
    return replace(ct, array=array)


def seen_path(steel_mm: NDArray[np.floating] | float) -> NDArray[np.float64]:
    """-ln of what is left behind so much steel: it rises ever less, as the beam hardens."""
    left = sum(share * np.exp(-per_mm * np.asarray(steel_mm)) for share, per_mm in SPECTRUM)
    return np.asarray(-np.log(left))


def starved_variance(steel_mm: NDArray[np.floating], element_mm: float) -> NDArray[np.float64]:
    """Variance of a measured path behind steel, beyond that which it has without the steel.

    Args:
        steel_mm: behind which the photons are counted.
        element_mm: width of a detector element.
    """
    most = PHOTONS_PER_MM * element_mm * math.exp(-PATIENT_PATH)
    photons = np.maximum(most * np.exp(-seen_path(steel_mm)), FEWEST_PHOTONS)
    return np.asarray(np.maximum(1 / photons - 1 / most, 0))


def streaks_hu(
    rods: list[Rod],
    diameter_mm: float,
    scale: Scale,
    shape: tuple[int, ...],
    draws: Sequence[np.random.Generator],
) -> Iterator[Plane]:
    """What is reckoned wrongly (Y, X) in HU about rods of steel, a picture for each generator."""
    reach = math.hypot(shape[0] * scale.y, shape[1] * scale.x)
    bins = min(max(shape), _MOST_PIXELS)
    bins = math.ceil(bins * reach / max(shape[0] * scale.y, shape[1] * scale.x))
    step = reach / bins
    angles = (np.arange(_ANGLES) + 0.5) * math.pi / _ANGLES
    offsets = (np.arange(bins) - (bins - 1) / 2) * step
    steel = np.zeros((_ANGLES, bins))
    for rod in rods:
        steel += _chords(rod, diameter_mm, angles, offsets, step)
    # What is linear in the path shows within the rods alone; here their own diameter is right.
    hardened = seen_path(steel) - steel * (seen_path(diameter_mm) / diameter_mm)
    sd = np.sqrt(starved_variance(steel, step))
    for first in range(0, len(draws), _AT_ONCE):
        some = draws[first : first + _AT_ONCE]
        errors = np.stack([hardened + sd * one.standard_normal(sd.shape) for one in some])
        yield from back_projected(errors, angles, step, scale, shape) / np.float32(
            WATER_PER_MM / 1000
        )


def back_projected(
    sinograms: NDArray[np.floating],
    angles: NDArray[np.floating],
    step_mm: float,
    scale: Scale,
    shape: tuple[int, ...],
) -> NDArray[np.float32]:
    """Filtered back projection of parallel projections (S, A, B) onto pictures (S, Y, X), per mm.

    Ramp filter with a Hann roll-off (Kak and Slaney 1988, chapter 3). Pixels take the nearest of
    four places between two detector elements.
    """
    bins = sinograms.shape[-1]
    length = fft.next_fast_len(2 * bins, True)
    frequency = fft.rfftfreq(length, step_mm)
    window = frequency * (0.5 + 0.5 * np.cos(np.pi * frequency / frequency[-1]))
    filtered = fft.irfft(fft.rfft(sinograms, length) * window, length)[..., :bins]
    fine = np.arange((bins - 1) * _FINER + 1) / _FINER
    below, share = fine.astype(int), fine % 1
    above = np.minimum(below + 1, bins - 1)
    projections = (filtered[..., below] * (1 - share) + filtered[..., above] * share).astype("f4")
    edge = max(1.0, max(shape) / _MOST_PIXELS)
    rows, columns = (math.ceil(size / edge) for size in shape)
    y = _places(rows, shape[0] * scale.y)[:, None]
    x = _places(columns, shape[1] * scale.x)[None]
    pictures = np.zeros((len(sinograms), rows, columns), dtype=np.float32)
    for k, angle in enumerate(angles):
        place = (x * math.cos(angle) + y * math.sin(angle)) / step_mm + (bins - 1) / 2
        nearest = np.clip(np.rint(place * _FINER), 0, len(fine) - 1).astype(np.intp)
        for picture, projection in zip(pictures, projections, strict=True):
            picture += projection[k][nearest]
    pictures *= math.pi / len(angles)
    if pictures.shape[1:] != shape:
        zoom = (1, shape[0] / rows, shape[1] / columns)
        pictures = ndimage.zoom(pictures, zoom, order=1, mode="nearest", grid_mode=True)
    return np.asarray(pictures, dtype=np.float32)


def _chords(
    rod: Rod,
    diameter_mm: float,
    angles: NDArray[np.floating],
    offsets: NDArray[np.floating],
    step_mm: float,
) -> NDArray[np.float64]:
    """Path in mm (A, B) through a round rod, the mean over each detector element."""
    middle = rod.x * np.cos(angles) + rod.y * np.sin(angles)
    radius = diameter_mm / 2
    edges = (offsets[None] - middle[:, None])[..., None] + np.array([-0.5, 0.5]) * step_mm
    inside = np.clip(edges, -radius, radius)
    # Area of the disc left of an edge; its difference is what the element sees.
    area = inside * np.sqrt(radius**2 - inside**2) + radius**2 * np.arcsin(inside / radius)
    return np.asarray((area[..., 1] - area[..., 0]) / step_mm)


def _placed(
    scan: Opened, slices: range, box: Box | None, generator: np.random.Generator
) -> list[Rod]:
    """Two rods in tissue that is no lung in any of the slices, as far apart as `APART_MM` says."""
    ct, scale = scan.ct, scale_of(scan)
    _, height, width = ct.array.shape
    lungs = np.asarray(scan.lungs.mask.array, dtype=bool)
    tissue = np.ones((height, width), dtype=bool)
    for z in slices:
        tissue &= (in_hu(ct, ct.array[z]) > _BODY_HU) & ~lungs[z]
    shown = np.zeros_like(tissue)
    about = box or Box(height // 4, 3 * height // 4, width // 4, 3 * width // 4)
    shown[about.top : about.bottom, about.left : about.right] = True
    found = np.argwhere(tissue & shown)
    for _ in range(_TRIES if len(found) else 0):
        pair = found[generator.integers(len(found), size=2)]
        rods = [
            Rod((row + 0.5 - height / 2) * scale.y, (column + 0.5 - width / 2) * scale.x)
            for row, column in pair
        ]
        apart = math.hypot(rods[0].y - rods[1].y, rods[0].x - rods[1].x)
        if APART_MM[0] <= apart <= APART_MM[1]:
            return rods
    raise DoesNotApplyError(f"{ct.source}: no tissue beside the lungs was found for two rods")


def _inside(
    rods: list[Rod], diameter_mm: float, scale: Scale, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    y = _places(shape[0], shape[0] * scale.y)[:, None]
    x = _places(shape[1], shape[1] * scale.x)[None]
    inside = np.zeros(shape, dtype=bool)
    for rod in rods:
        inside |= np.hypot(y - rod.y, x - rod.x) <= diameter_mm / 2
    return inside


def _places(count: int, reach_mm: float) -> NDArray[np.float64]:
    """Middles of pixels in mm from the centre."""
    return (np.arange(count) + 0.5) * reach_mm / count - reach_mm / 2
