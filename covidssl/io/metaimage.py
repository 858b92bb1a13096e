"""MetaImage (.mhd, .mha) and NRRD, through SimpleITK, which keeps LPS as we do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from covidssl.errors import ScanError
from covidssl.io.orient import spacing_of
from covidssl.io.raw import RawScan, check_affine, check_size
from covidssl.io.refusals import refusing


def read_metaimage(path: Path, source: str) -> RawScan:
    """A `.mhd`, `.mha`, `.nrrd` or `.nhdr` file as a raw scan.

    Raises:
        ScanError: when it is damaged, its `.raw` is missing or short, or it is no 3D volume.
    """
    import SimpleITK as sitk

    quiet = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.GlobalWarningDisplayOff()
    try:
        with refusing(source, "MetaImage or NRRD"):
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            size = tuple(int(edge) for edge in reader.GetSize())
            check_size(size, source)
            if reader.GetNumberOfComponents() > 1 or len(size) not in (2, 3, 4) or size[3:] > (1,):
                raise ScanError(
                    f"{source}: size {size} with {reader.GetNumberOfComponents()} values a voxel; "
                    f"expected one 3D volume of plain numbers."
                )
            image = reader.Execute()
            return _placed(image, source)
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(quiet)


def _placed(image: Any, source: str) -> RawScan:
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    if array.ndim == 4:
        array, image = array[0], image[:, :, :, 0]
    grey = array.dtype == np.uint8
    if array.ndim == 2:
        y, x = image.GetSpacing()[::-1]
        return RawScan(array[np.newaxis], grey, (1.0, y, x), None, ("one slice without a place",))
    affine = np.eye(4)
    direction = np.array(image.GetDirection(), dtype=np.float64).reshape(3, 3)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    check_affine(affine, source)
    return RawScan(array, grey, spacing_of(affine), affine)
