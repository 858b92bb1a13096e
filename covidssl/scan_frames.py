"""From a whole scan to what a classifier sees: frames of some slices, or one that is a volume."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.box import Box, Region, lungs_box, lungs_region
from covidssl.errors import ScanError
from covidssl.frames import (
    Frame,
    frame_mask,
    frame_pixels,
    frame_volume,
    frame_volume_mask,
    places_along,
)
from covidssl.hounsfield import Pixels
from covidssl.lungs import Lungs
from covidssl.noted import Noted
from covidssl.volume import Volume

LEAST_SHARE_OF_LARGEST = 0.25
"""A slice is looked at when its lungs are at least this share of the largest slice's."""

LEAST_SLICES = 8
"""A scan with fewer slices of lung is no volume to learn from."""

THIN_SLAB_MM = 120.0
"""Lungs are about 250 mm high: what spans less than half of them is a slab."""


class ScanFrames(NamedTuple):
    """The frames of one scan.

    Attributes:
        frames: (N, size, size) uint16, network units scaled to 0..65535; of a network that sees
            volumes (1, depth, size, size).
        lungs: of the same shape, bool.
        slices: (N,) which slices of the scan they are; of a volume (depth,) the slice that lies
            nearest to each plane.
        box: the rectangle of the scan that the frames show.
        warnings: what the reader or the lungs found odd, in plain words.
    """

    frames: NDArray[np.uint16]
    lungs: NDArray[np.bool_]
    slices: NDArray[np.int64]
    box: Box
    warnings: tuple[Noted, ...]


def frames_of_scan(ct: Volume, lungs: Lungs, frame: Frame, most: int | None = None) -> ScanFrames:
    """The slices of a scan that show enough lung, as frames; or its lungs as one volume.

    Where no plausible lungs were found, or their mask is flagged, the whole picture of every slice
    is taken, with a warning: to leave such scans out would leave out the sickest.

    Args:
        ct: an upright scan.
        lungs: of that scan.
        frame: of the network.
        most: at most so many slices, spread evenly; None for all. A volume shows all of them.

    Raises:
        ScanError: when an 8-bit scan would have to reach a network that was trained on HU, or a
            single slice one that sees volumes.
    """
    if ct.pixels is Pixels.WINDOWED and frame.pixels is Pixels.HU:
        raise ScanError(
            f"{ct.source}: holds 8-bit grey values of an unknown window, and the network was "
            f"trained on HU. Give the original DICOM or NIfTI in HU, or use a network of pixel "
            f"kind 'windowed'.",
            "grey_for_hu",
        )
    if ct.pixels is None:
        raise ScanError(f"{ct.source}: is a mask, expected a CT scan.", "is_mask")
    warnings = ct.warnings
    if not lungs.usable:
        code = "no_lungs" if lungs.problem else "odd_lungs"
        what = "lungs not found" if lungs.problem else "lungs look wrong"
        whole = "picture" if frame.depth is None else "scan"
        warnings += (Noted(f"{what} ({lungs.complaint}): the whole {whole} was taken", code),)
    if frame.depth is not None:
        return _volume_of_scan(ct, ct.pixels, lungs, frame, warnings)
    slices = slices_with_lung(lungs, most)
    mask = np.asarray(lungs.mask.array, dtype=bool)
    box = frame.box(lungs_box(mask) if lungs.usable else None, *ct.array.shape[1:])
    return ScanFrames(
        frame_pixels(ct.array[slices], ct.pixels, box, frame),
        frame_mask(mask[slices], box, frame),
        slices,
        box,
        warnings,
    )


def _volume_of_scan(
    ct: Volume, pixels: Pixels, lungs: Lungs, frame: Frame, warnings: tuple[Noted, ...]
) -> ScanFrames:
    depth = frame.shape[0]
    if len(ct.array) < 2:
        raise ScanError(
            f"{ct.source}: is a single slice, and the network sees volumes of {depth} slices. "
            f"Give the whole series, or use a network of slices.",
            "single_slice",
        )
    mask = np.asarray(lungs.mask.array, dtype=bool)
    region = frame.region(lungs_region(mask) if lungs.usable else None, ct.array.shape)
    return ScanFrames(
        frame_volume(ct.array, pixels, region, frame)[None],
        frame_volume_mask(mask, region, frame)[None],
        places_along(region.slices, depth),
        region.box,
        warnings + _thinness(region, ct.spacing_mm if lungs.spacing_known else None),
    )


def _thinness(region: Region, spacing_mm: tuple[float, float, float] | None) -> tuple[Noted, ...]:
    """A warning, when a volume shows a slab of the lungs, or all of them in a few slices."""
    count = len(region.slices)
    extent = None if spacing_mm is None else count * spacing_mm[0]
    if extent is not None and extent < THIN_SLAB_MM:
        over = f"{count} slices over {extent:.0f} mm"
        told = f"a thin slab: {over}, where whole lungs are about 250 mm high"
        return (Noted(told, "slab"),)
    if count >= LEAST_SLICES:
        return ()
    over = "an unknown extent" if extent is None else f"{extent:.0f} mm"
    told = f"{count} slices of lung over {over}, expected {LEAST_SLICES} or more"
    return (Noted(f"{told}: what the network sees between them is interpolated", "few_planes"),)


def slices_with_lung(lungs: Lungs, most: int | None) -> NDArray[np.int64]:
    """The slices of a scan that show enough lung; at most so many, spread evenly."""
    share = lungs.slice_share
    if not lungs.usable:
        slices = np.arange(len(share))
    else:
        slices = np.flatnonzero(share >= LEAST_SHARE_OF_LARGEST * share.max())
    if most is not None and len(slices) > most:
        slices = slices[np.round(np.linspace(0, len(slices) - 1, most)).astype(np.int64)]
    return slices
