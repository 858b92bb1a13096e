"""From a whole scan to the frames that a classifier sees: which slices, and cropped to what."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.box import Box, lungs_box
from covidssl.errors import ScanError
from covidssl.frames import Frame, frame_mask, frame_pixels
from covidssl.hounsfield import Pixels
from covidssl.lungs import Lungs
from covidssl.volume import Volume

LEAST_SHARE_OF_LARGEST = 0.25
"""A slice is looked at when its lungs are at least this share of the largest slice's."""


class ScanFrames(NamedTuple):
    """The frames of one scan.

    Attributes:
        frames: (N, size, size) uint16, network units scaled to 0..65535.
        lungs: (N, size, size) bool.
        slices: (N,) which slices of the scan they are.
        box: the rectangle of the scan that the frames show.
        warnings: what the reader or the lungs found odd, in plain words.
    """

    frames: NDArray[np.uint16]
    lungs: NDArray[np.bool_]
    slices: NDArray[np.int64]
    box: Box
    warnings: tuple[str, ...]


def frames_of_scan(ct: Volume, lungs: Lungs, frame: Frame, most: int | None = None) -> ScanFrames:
    """The slices of a scan that show enough lung, as frames.

    Where no plausible lungs were found, or their mask is flagged, the whole picture of every slice
    is taken, with a warning: to leave such scans out would leave out the sickest.

    Args:
        ct: an upright scan.
        lungs: of that scan.
        frame: of the network.
        most: at most so many slices, spread evenly; None for all.

    Raises:
        ScanError: when an 8-bit scan would have to reach a network that was trained on HU.
    """
    if ct.pixels is Pixels.WINDOWED and frame.pixels is Pixels.HU:
        raise ScanError(
            f"{ct.source}: holds 8-bit grey values of an unknown window, and the network was "
            f"trained on HU. Give the original DICOM or NIfTI in HU, or use a network of pixel "
            f"kind 'windowed'."
        )
    if ct.pixels is None:
        raise ScanError(f"{ct.source}: is a mask, expected a CT scan.")
    slices = slices_with_lung(lungs, most)
    mask = np.asarray(lungs.mask.array, dtype=bool)
    found = lungs_box(mask) if lungs.usable else None
    box = frame.box(found, *ct.array.shape[1:])
    warnings = ct.warnings
    if not lungs.usable:
        what = "lungs not found" if lungs.problem else "lungs look wrong"
        warnings += (f"{what} ({lungs.complaint}): the whole picture was taken",)
    return ScanFrames(
        frame_pixels(ct.array[slices], ct.pixels, box, frame),
        frame_mask(mask[slices], box, frame),
        slices,
        box,
        warnings,
    )


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
