"""One DICOM CT series as a raw scan: geometry from the headers, voxels through SimpleITK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.io.gate import HIGHEST_HU, LOWEST_HU
from covidssl.io.headers import SliceHeader, read_headers
from covidssl.io.raw import RawScan
from covidssl.io.refusals import refusing
from covidssl.io.series import stack


def read_dicom(paths: Sequence[Path], source: str) -> RawScan:
    """The slices of one series as a raw scan in HU, padding outside the field of view as air.

    Raises:
        ScanError: when the slices make no single evenly spaced CT volume, or one is damaged.
    """
    import SimpleITK as sitk

    slices = stack(read_headers(paths, source), source)
    quiet = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.GlobalWarningDisplayOff()
    try:
        planes = [_plane(header, source) for header in slices.headers]
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(quiet)
    return RawScan(np.stack(planes), False, slices.spacing_mm, slices.affine, slices.warnings)


def _plane(header: SliceHeader, source: str) -> NDArray[Any]:
    import SimpleITK as sitk

    with refusing(f"{source} ({header.path.name})", "a DICOM slice"):
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(header.path))
        plane: NDArray[Any] = sitk.GetArrayFromImage(reader.Execute())
        rows, columns = plane.shape[-2:]
        plane = plane.reshape(rows, columns)
        if (rows, columns) != header.shape:
            raise ScanError(f"{source} ({header.path.name}): the pixels do not fit the header.")
    padding = header.padding_hu
    # A padding value inside the range of the body would be a mistake of the writer.
    if padding is not None and (padding < LOWEST_HU or padding > HIGHEST_HU):
        plane = np.where(plane == padding, LOWEST_HU, plane)
    return plane
