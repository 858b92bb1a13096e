"""A map of bytes as NIfTI, on exactly the grid that a scan's own file says."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl import files
from covidssl.io.archive import open_member
from covidssl.io.found import ScanFiles

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_HEADERS = {348: "Nifti1Header", 540: "Nifti2Header"}
_GEOMETRY = (
    "pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x",
    "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip
_SPATIAL_UNIT = 7  # the lowest three bits of xyzt_units


class Overlay(NamedTuple):
    """A map on a scan's grid; its value is `slope * voxel + intercept`.

    Attributes:
        voxels: (Z, Y, X) uint8, in the order of the scan's file.
        affine: (4, 4) from voxel index (x, y, z, 1) to LPS mm; None where nothing is known of it.
        spacing_mm: (z, y, x), for scans without an affine; None where not known.
        slope, intercept: from a byte to the value.
        name: what the value is, for the header; at most 79 ASCII letters.
    """

    voxels: NDArray[np.uint8]
    affine: NDArray[np.float64] | None
    spacing_mm: tuple[float, float, float] | None
    slope: float
    intercept: float
    name: str


def write_overlay(path: Path, overlay: Overlay, source: ScanFiles | None = None) -> None:
    """Write a `.nii.gz`, whole or not at all, that any viewer lays exactly over the scan.

    Of a scan that came as NIfTI the geometry is copied from its header field by field, both forms
    and the unit: viewers differ in which they follow. No other field is copied: it could name the
    patient. The file depends on nothing else; it holds no time.

    Args:
        path: of the file.
        overlay: the map.
        source: the files of the scan; None for a scan from memory.

    Raises:
        NoRoomError: when the disk is full.
    """
    header = _header(overlay)
    own = None if source is None or source.format != "nifti" else _header_of(source)
    if own is not None and _same_shape(own, header):
        for field in _GEOMETRY:
            header[field] = own[field]
        header["xyzt_units"] = int(own["xyzt_units"]) & _SPATIAL_UNIT
    voxels = np.ascontiguousarray(overlay.voxels)
    with (
        files.replacing(path) as temporary,
        temporary.open("wb") as raw,
        # Level 1: the map is mostly one value, and time counts.
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
    ):
        packed.write(header.binaryblock)
        packed.write(bytes(int(header["vox_offset"]) - len(header.binaryblock)))
        packed.write(voxels.reshape(-1).data)


def _header(overlay: Overlay) -> Any:
    import nibabel

    header: Any = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(overlay.voxels.shape[::-1])
    header.set_xyzt_units("mm")
    if overlay.affine is None:
        header.set_zooms((overlay.spacing_mm or (1.0, 1.0, 1.0))[::-1])
    else:
        ras = _RAS_TO_LPS @ overlay.affine
        header.set_qform(ras, code=1)
        header.set_sform(ras, code=1)
    header["scl_slope"], header["scl_inter"] = overlay.slope, overlay.intercept
    header["descrip"] = overlay.name.encode("ascii")
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return header


def _header_of(source: ScanFiles) -> Any:
    """The NIfTI header of a scan, from its first bytes; None where they hold none."""
    import nibabel

    with open_member(source.archive, source.paths[0]) as stream:
        packed = source.paths[0].name.lower().endswith(".gz")
        start = (gzip.GzipFile(fileobj=stream) if packed else stream).read(max(_HEADERS))
    for size, kind in _HEADERS.items():
        for order in "<>":
            if int.from_bytes(start[:4], "little" if order == "<" else "big") == size:
                return getattr(nibabel, kind)(start[:size], endianness=order, check=False)
    return None


def _same_shape(own: Any, header: Any) -> bool:
    shape = (*(int(edge) for edge in own["dim"][1 : 1 + int(own["dim"][0])]), 1, 1)
    return shape[:3] == tuple(int(edge) for edge in header["dim"][1:4])
