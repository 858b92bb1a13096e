"""The one image type: a stack of slices that knows where it is, what it means, whence it came."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.hounsfield import Pixels
from covidssl.noted import Noted


@dataclass(frozen=True)
class StoredGrid:
    """How a scan lay in its file, before it was turned upright.

    Attributes:
        shape: (Z, Y, X), in the order of the file.
        affine: (4, 4) map from voxel index (x, y, z, 1) of the file to LPS, mm.
        files: of a DICOM series, plane for plane, which of its files shows just that plane, counted
            from 0 in the order of `ScanFiles.paths`; None for a plane that was filled in. Empty
            where planes are not whole files: another format, many frames in a file, or slices that
            were moved or resampled.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    files: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Volume:
    """A CT scan, or a mask on its grid; a single picture is a volume of one slice.

    A volume from `covidssl.io` is upright: slice axis towards the head, rows towards the patient's
    back, columns towards the patient's left (so the patient's right is on the picture's left).

    Attributes:
        array: voxel values, shape (Z, Y, X); int16 HU, uint8 grey values, or bool for a mask.
        pixels: what the values mean; None for a mask.
        spacing_mm: voxel size in mm, ordered like the array (z, y, x); None where not known.
        affine: (4, 4) map from voxel index (x, y, z, 1) to DICOM patient coordinates (LPS, mm);
            None where the file carries no orientation (PNG, JPG): it is then taken as it is.
        source: the scan's name for tables and errors: its path relative to the INPUT given.
        warnings: what the reader found odd but could cope with, in plain words, each with its code.
        repairs: what the reader changed, in plain words and with numbers; empty unless the policy
            is `repair`.
        patient: pseudonym of the header's patient; empty where not known or not asked for.
        series: pseudonym of the header's series, likewise.
        stored: how it lay in its file; None where the file says nothing of it, and it was taken as
            it is.
    """

    array: NDArray[np.generic]
    pixels: Pixels | None
    spacing_mm: tuple[float, float, float] | None = None
    affine: NDArray[np.float64] | None = None
    source: str = "<memory>"
    warnings: tuple[Noted, ...] = ()
    repairs: tuple[str, ...] = ()
    patient: str = ""
    series: str = ""
    stored: StoredGrid | None = None

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or 0 in self.array.shape:
            raise ScanError(
                f"{self.source}: a volume needs a (Z, Y, X) array without an empty axis, "
                f"got shape {self.array.shape}."
            )
        if self.affine is not None and self.affine.shape != (4, 4):
            raise ScanError(f"{self.source}: an affine has shape (4, 4), got {self.affine.shape}.")

    def mask(self, array: NDArray[np.bool_]) -> Volume:
        """A mask on this grid.

        Raises:
            ScanError: when the shape differs.
        """
        if array.shape != self.array.shape:
            raise ScanError(
                f"{self.source}: a mask of shape {array.shape} does not fit the scan's "
                f"{self.array.shape}."
            )
        return replace(self, array=array, pixels=None)
