"""MetaImage (.mhd, .mha) and NRRD, through SimpleITK, which keeps LPS as we do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from covidssl.errors import ScanError
from covidssl.io.orient import spacing_of
from covidssl.io.raw import RawScan, check_affine, check_room, check_size
from covidssl.io.refusals import refusing
from covidssl.io.text_headers import Given, check_lines
from covidssl.io.voxel_files import header_text, may_be_packed, voxel_files

_READERS = {
    ".mhd": "MetaImageIO",
    ".mha": "MetaImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
}
_SPACE = "NRRD_space"
# What the library makes of RAS, LAS and LPS; the axes of other spaces are not the patient's.
_PATIENTS_SPACE = "left-posterior-superior"


def read_metaimage(path: Path, source: str) -> RawScan:
    """A `.mhd`, `.mha`, `.nrrd` or `.nhdr` file as a raw scan.

    Raises:
        ScanError: when it is damaged, its voxels are missing, short or outside its folder, or it is
            no 3D volume.
    """
    import SimpleITK as sitk

    quiet = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.GlobalWarningDisplayOff()
    try:
        with refusing(source, "MetaImage or NRRD"):
            given, voxels, packed = _voxels(path, source)
            reader = sitk.ImageFileReader()
            # Named, so that a file of quite another format under this name is not read as that.
            reader.SetImageIO(_READERS[path.suffix.lower()])
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            size = tuple(int(edge) for edge in reader.GetSize())
            check_size(size, source)
            if reader.GetNumberOfComponents() > 1 or len(size) not in (2, 3, 4) or size[3:] > (1,):
                raise ScanError(
                    f"{source}: size {size} with {reader.GetNumberOfComponents()} values a voxel; "
                    f"expected one 3D volume of plain numbers.",
                    "several_frames",
                )
            claimed = int(np.prod(size)) * _bytes(
                sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
            )
            # Of voxels that are not there, SimpleITK gives whatever its memory held before.
            check_room(claimed, voxels, packed, source)
            if _SPACE in reader.GetMetaDataKeys():
                patients = reader.GetMetaData(_SPACE).startswith(_PATIENTS_SPACE)
                given = given._replace(orientation=given.orientation and patients)
            return _placed(reader.Execute(), given, source)
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(quiet)


def _voxels(path: Path, source: str) -> tuple[Given, list[Path], bool]:
    """What the header says, the files with its voxels, its own or beside it; are they packed?"""
    suffix = path.suffix.lower()
    with path.open("rb") as header:
        text = header_text(header)
    try:
        given = check_lines(text, suffix)
        names = voxel_files(text, suffix)
    except ScanError as error:
        raise ScanError(f"{source}: {error}", error.code) from None
    paths = [path.parent / name for name in names]
    lost = sum(not beside.is_file() for beside in paths)
    if lost:
        raise ScanError(
            f"{source}: {lost} of {len(paths)} files with its voxels, which the header names, are "
            f"not there. Put them beside it.",
            "missing_voxels",
        )
    return given, paths or [path], may_be_packed(text, suffix)


def _bytes(kind: str) -> int:
    """Bytes a voxel takes, from SimpleITK's word for its type (`16-bit signed integer`)."""
    bits = kind.partition("-bit")[0].rpartition(" ")[2]
    return int(bits) // 8 if bits.isdecimal() else 1


def _placed(image: Any, given: Given, source: str) -> RawScan:
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    if array.ndim == 4:
        array, image = array[0], image[:, :, :, 0]
    grey = array.dtype == np.uint8
    if array.ndim == 2 or not given.orientation:
        spacing = (1.0, 1.0, *image.GetSpacing()[::-1])[-3:]
        known = given.spacing and all(0 < edge < np.inf for edge in spacing)
        stack = array.reshape((1, *array.shape)[-3:])
        return RawScan(stack, grey, spacing if known else None, None)
    affine = np.eye(4)
    direction = np.array(image.GetDirection(), dtype=np.float64).reshape(3, 3)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    check_affine(affine, source)
    return RawScan(array, grey, spacing_of(affine) if given.spacing else None, affine)
