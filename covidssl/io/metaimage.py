"""MetaImage (.mhd, .mha) and NRRD, through SimpleITK, which keeps LPS as we do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from covidssl.errors import ScanError
from covidssl.io.orient import spacing_of
from covidssl.io.raw import RawScan, check_affine, check_room, check_size
from covidssl.io.refusals import refusing
from covidssl.io.text_headers import check_lines
from covidssl.io.voxel_files import header_text, may_be_packed, voxel_files

_READERS = {
    ".mhd": "MetaImageIO",
    ".mha": "MetaImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
}
_NO_PLACE = "the header gives no orientation: taken as lying upright (LPS)"
_SPACE = "NRRD_space"


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
            voxels, packed = _voxels(path, source)
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
            placed = not _READERS[path.suffix.lower()].startswith("Nrrd") or (
                _SPACE in reader.GetMetaDataKeys()
            )
            return _placed(reader.Execute(), placed, source)
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(quiet)


def _voxels(path: Path, source: str) -> tuple[list[Path], bool]:
    """The files with the voxels, the header's own or those that it names; may they be packed?"""
    suffix = path.suffix.lower()
    with path.open("rb") as header:
        text = header_text(header)
    try:
        check_lines(text, suffix)
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
    return paths or [path], may_be_packed(text, suffix)


def _bytes(kind: str) -> int:
    """Bytes a voxel takes, from SimpleITK's word for its type (`16-bit signed integer`)."""
    bits = kind.partition("-bit")[0].rpartition(" ")[2]
    return int(bits) // 8 if bits.isdecimal() else 1


def _placed(image: Any, oriented: bool, source: str) -> RawScan:
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    if array.ndim == 4:
        array, image = array[0], image[:, :, :, 0]
    grey = array.dtype == np.uint8
    flat = array.ndim == 2
    if flat or not oriented:
        spacing = (1.0, 1.0, *image.GetSpacing()[::-1])[-3:]
        known = all(0 < edge < np.inf for edge in spacing)
        told = "one slice without a place" if flat else _NO_PLACE
        stack = array.reshape((1, *array.shape)[-3:])
        return RawScan(stack, grey, spacing if known else None, None, (told,))
    affine = np.eye(4)
    direction = np.array(image.GetDirection(), dtype=np.float64).reshape(3, 3)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    check_affine(affine, source)
    return RawScan(array, grey, spacing_of(affine), affine)
