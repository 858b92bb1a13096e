"""NIfTI in and out, through nibabel; RAS in the file, LPS everywhere else."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl import files
from covidssl.errors import ScanError, UsageError
from covidssl.io.orient import spacing_of
from covidssl.io.raw import RawScan, check_affine, check_room, check_size
from covidssl.io.reading import Policy, Reading
from covidssl.io.refusals import refusing
from covidssl.noted import Noted
from covidssl.volume import Volume

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_TRUNCATED = "the file is truncated: it ends before its last voxel. Copy or download it again."
_MOST_APART = 0.5  # of the shortest voxel edge
_MOST_OFF_SIZE = 0.01
# NIfTI-1: the lowest three bits of xyzt_units; 1 is metre, 2 mm, 3 micron, 0 not known.
_UNIT_MM = {1: 1000.0, 3: 0.001}
_AS_STORED = {"b": np.uint8, "i": np.int32, "u": np.uint16, "f": np.float32}


def read_nifti(path: Path, source: str, reading: Reading) -> RawScan:
    """A `.nii` or `.nii.gz` file as a raw scan, its intensity scaling applied.

    Raises:
        ScanError: when it is damaged, truncated, has several frames or a degenerate affine; under
            the policy `strict` also when it gives two orientations or voxel sizes that disagree.
    """
    import nibabel

    with refusing(source, "NIfTI"):
        image: Any = nibabel.load(path, mmap=False)
        if not isinstance(image, nibabel.Nifti1Image):
            raise ScanError(f"{source}: is called .nii but is no NIfTI file.")
        shape = tuple(int(edge) for edge in image.shape)
        check_size(shape, source)
        if len(shape) < 2 or any(edge > 1 for edge in shape[3:]):
            raise ScanError(
                f"{source}: shape {shape}; expected one 3D volume, not several frames. "
                f"Save each frame as a file of its own.",
                "several_frames",
            )
        values = _values(image, path, source)
        array = values.reshape((*shape, 1)[:3]).T
        grey = image.get_data_dtype() == np.uint8 and _unscaled(image)
        return _placed(array, bool(grey), image, reading, source)


def _values(image: Any, path: Path, source: str) -> NDArray[Any]:
    claimed = int(np.prod(image.shape, dtype=np.int64)) * image.get_data_dtype().itemsize
    check_room(int(image.dataobj.offset) + claimed, [path], path.suffix != ".nii", source)
    try:
        # float32 holds every HU exactly at half the memory.
        return np.asarray(image.dataobj, dtype=None if _unscaled(image) else np.float32)
    except EOFError:
        raise ScanError(f"{source}: {_TRUNCATED}", "truncated") from None
    except OSError as error:
        if "Expected" in str(error):
            raise ScanError(f"{source}: {_TRUNCATED}", "truncated") from None
        raise


def _unscaled(image: Any) -> bool:
    return (image.dataobj.slope, image.dataobj.inter) == (1.0, 0.0)


def _placed(
    array: NDArray[Any], grey: bool, image: Any, reading: Reading, source: str
) -> RawScan:  # fmt: skip
    unit_mm = _UNIT_MM.get(int(image.header["xyzt_units"]) & 7, 1.0)
    if image.header["qform_code"] == 0 and image.header["sform_code"] == 0:
        x, y, z = (float(edge) * unit_mm for edge in _pixdim(image))
        known = min(x, y, z) > 0 and max(x, y, z) < np.inf
        return RawScan(array, grey, (z, y, x) if known else None, None)
    warnings: tuple[Noted, ...] = ()
    doubt = _disagreement(image, unit_mm)
    if doubt is not None:
        if reading.policy is Policy.STRICT:
            raise ScanError(f"{source}: {doubt}; expected one grid.", "qform_sform")
        warnings = (Noted(f"{doubt}: the sform is taken", "qform_sform"),)
    affine = _RAS_TO_LPS @ np.asarray(image.affine, dtype=np.float64)
    affine[:3] *= unit_mm
    check_affine(affine, source)
    return RawScan(array, grey, spacing_of(affine), affine, warnings)


def _pixdim(image: Any) -> NDArray[np.float64]:
    """The edges of a voxel (x, y, z) in the file's unit; 1 along an axis that it does not have."""
    return np.array((*image.header.get_zooms()[:3], 1.0)[:3], dtype=np.float64)


def _disagreement(image: Any, unit_mm: float) -> str | None:
    """In words, what else the header says of the grid than its sform; None when it is all one."""
    if image.header["sform_code"] == 0:
        return None
    apart = None if image.header["qform_code"] == 0 else _turned(image, unit_mm)
    return apart or _resized(image, unit_mm)


def _resized(image: Any, unit_mm: float) -> str | None:
    """In words, the voxel sizes of pixdim and sform; None when they agree."""
    pixdim, edges = _pixdim(image), np.linalg.norm(image.get_sform()[:3, :3], axis=0)
    dimensions = min(3, len(image.shape))
    if (np.abs(pixdim - edges) <= _MOST_OFF_SIZE * edges)[:dimensions].all():
        return None
    told, used = (" x ".join(f"{edge * unit_mm:.4g}" for edge in of) for of in (pixdim, edges))
    return f"voxels of {told} mm by pixdim in the header, but of {used} mm by the sform"


def _turned(image: Any, unit_mm: float) -> str | None:
    """In words, by how much qform and sform place the same voxels apart; None when they agree."""
    sform = image.get_sform()
    try:
        qform = image.get_qform()
    except Exception:  # quaternions that no rotation has
        return "the qform in the header is no rotation, the sform is another"
    ends = np.array(list(product(*((0, edge - 1) for edge in (*image.shape, 1)[:3]))))
    corners = np.c_[ends, np.ones(8)]
    apart = float(np.linalg.norm((corners @ (qform - sform).T)[:, :3], axis=1).max())
    edges = np.linalg.norm(sform[:3, :3], axis=0)
    # Below, it is the rounding of the quaternion.
    if apart <= _MOST_APART * edges.min():
        return None
    turns = (qform[:3, :3] / np.linalg.norm(qform[:3, :3], axis=0)).T @ (sform[:3, :3] / edges)
    degrees = float(np.degrees(np.arccos(np.clip(np.diag(turns), -1, 1))).max())
    return (
        f"qform and sform in the header disagree by {degrees:.1f} degrees, and by "
        f"{apart * unit_mm:.1f} mm at the farthest corner"
    )


def write_volume(volume: Volume, path: Path) -> None:
    """Write a volume as `.nii` or `.nii.gz`, whole or not at all; masks become uint8 0/1.

    The file's affine is RAS, as NIfTI has it. A volume without orientation is written without one.

    Raises:
        UsageError: when the name ends in neither `.nii` nor `.nii.gz`.
        CovidsslError: when the disk is full.
    """
    import nibabel

    if not path.name.endswith((".nii", ".nii.gz")):
        raise UsageError(f"{path}: a volume is written as .nii or .nii.gz.")
    with files.replacing(path) as temporary:
        nibabel.save(_image(volume), temporary)


def volume_bytes(volume: Volume) -> bytes:
    """What `write_volume` would write as `.nii`: voxels and geometry, and nothing of a header."""
    return _image(volume).to_bytes()


def _image(volume: Volume) -> Any:
    import nibabel

    array = volume.array
    if array.dtype.name not in ("uint8", "int16", "int32", "float32", "uint16"):
        array = array.astype(_AS_STORED[array.dtype.kind])
    affine = None if volume.affine is None else _RAS_TO_LPS @ volume.affine
    image = nibabel.Nifti1Image(array.T, affine)
    header: Any = image.header
    header.set_xyzt_units("mm")
    if affine is None:
        header.set_zooms((volume.spacing_mm or (1.0, 1.0, 1.0))[::-1])
        image.set_qform(None, code=0)
        image.set_sform(None, code=0)
    else:
        image.set_qform(affine, code=1)
        image.set_sform(affine, code=1)
    return image
