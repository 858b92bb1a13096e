"""What the scan shows and how still it was held: field of view, motion, breathing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from covidssl.altering import DoesNotApplyError, Key, Opened
from covidssl.box import lungs_region
from covidssl.randomness import numpy_generator
from covidssl.robustness.filtering import filtered
from covidssl.robustness.scale import Plane, in_hu, must_be_a_stack, scale_of, storing
from covidssl.volume import Volume

_STREAM = 163
_LEAST_PIXELS = 32


def narrower(scan: Opened, share: float, _key: Key) -> Volume:
    """A smaller field of view: this share of its width and height in mm, about the same centre.

    Raises:
        DoesNotApplyError: when hardly a picture would be left.
    """
    ct = scan.ct
    _, height, width = ct.array.shape
    rows, columns = round(share * height), round(share * width)
    if min(rows, columns) < _LEAST_PIXELS:
        raise DoesNotApplyError(
            f"{ct.source}: {rows} x {columns} pixels would be left, {_LEAST_PIXELS} are needed"
        )
    top, left = (height - rows) // 2, (width - columns) // 2
    affine = ct.affine
    if affine is not None:
        affine = affine.copy()
        affine[:3, 3] += affine[:3, 0] * left + affine[:3, 1] * top
    array = np.ascontiguousarray(ct.array[:, top : top + rows, left : left + columns])
    return replace(ct, array=array, affine=affine)


def moved(scan: Opened, path_mm: float, key: Key) -> Volume:
    """Smeared over a straight path in the slice: even motion while the slice was taken.

    The direction is drawn once for the scan. The mean over the path is exact for each frequency: a
    sinc. True motion leaves streaks as well, since each projection sees another place.
    """
    angle = numpy_generator(*key, _STREAM).uniform(0, math.pi)
    return filtered(
        scan.ct,
        scale_of(scan),
        path_mm,
        lambda y, x: np.sinc((y * math.sin(angle) + x * math.cos(angle)) * path_mm),
    )


def breathing(scan: Opened, path_mm: float, _key: Key) -> Volume:
    """Doubled as by breathing: the mean of two phases, `path_mm` apart at the diaphragm.

    The path falls evenly to nothing at the apex, and is along the body; phases between slices are
    interpolated. Below the lungs it stays that of the diaphragm.

    Raises:
        DoesNotApplyError: for a single picture, or where no lungs tell where the diaphragm is.
    """
    ct = scan.ct
    z_mm = must_be_a_stack(ct, scale_of(scan).z)
    mask = np.asarray(scan.lungs.mask.array, dtype=bool)
    region = lungs_region(mask) if scan.lungs.usable else None
    if region is None:
        raise DoesNotApplyError(f"{ct.source}: no usable lungs, so no diaphragm to move")
    places = np.arange(len(ct.array))
    height = max(len(region.slices) - 1, 1)
    falling = np.clip(1 - (places - region.slices.start) / height, 0, 1)
    half = path_mm / 2 / z_mm * falling
    store = storing(ct)
    planes = []
    for z, path in zip(places, half, strict=True):
        phases = (_at(ct, z - path), _at(ct, z + path))
        planes.append(store((phases[0] + phases[1]) * np.float32(0.5)))
    return replace(ct, array=np.stack(planes))


def _at(ct: Volume, place: float) -> Plane:
    """The slice at a place between slices, the last one beyond the end."""
    place = min(max(place, 0.0), len(ct.array) - 1.0)
    below = min(int(place), len(ct.array) - 1)
    above = min(below + 1, len(ct.array) - 1)
    share = np.float32(place - below)
    low = in_hu(ct, ct.array[below])
    return low if not share else low * (1 - share) + in_hu(ct, ct.array[above]) * share
