"""NIfTI in and out, through nibabel; RAS in the file, LPS everywhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl import files
from covidssl.errors import ScanError, UsageError
from covidssl.io.raw import RawScan, check_affine, check_size
from covidssl.io.refusals import refusing
from covidssl.volume import Volume

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_TRUNCATED = "the file is truncated: it ends before its last voxel. Copy or download it again."
_AS_STORED = {"b": np.uint8, "i": np.int32, "u": np.uint16, "f": np.float32}


def read_nifti(path: Path, source: str) -> RawScan:
    """A `.nii` or `.nii.gz` file as a raw scan, its intensity scaling applied.

    Raises:
        ScanError: when it is damaged, truncated, has several frames or a degenerate affine.
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
                f"Save each frame as a file of its own."
            )
        values = _values(image, path, source)
        array = values.reshape((*shape, 1)[:3]).T
        stored = image.get_data_dtype()
        grey = stored == np.uint8 and _unscaled(image)
        return _placed(array, bool(grey), image, source)


def _values(image: Any, path: Path, source: str) -> NDArray[Any]:
    expected = (
        int(image.dataobj.offset) + int(np.prod(image.shape)) * image.get_data_dtype().itemsize
    )
    if path.suffix == ".nii" and path.stat().st_size < expected:
        raise ScanError(f"{source}: {_TRUNCATED}")
    try:
        # float32 holds every HU exactly at half the memory.
        return np.asarray(image.dataobj, dtype=None if _unscaled(image) else np.float32)
    except EOFError:
        raise ScanError(f"{source}: {_TRUNCATED}") from None
    except OSError as error:
        if "Expected" in str(error):
            raise ScanError(f"{source}: {_TRUNCATED}") from None
        raise


def _unscaled(image: Any) -> bool:
    return (image.dataobj.slope, image.dataobj.inter) == (1.0, 0.0)


def _placed(array: NDArray[Any], grey: bool, image: Any, source: str) -> RawScan:
    warnings: list[str] = []
    x, y, z = (*(float(zoom) for zoom in image.header.get_zooms()[:3]), 1.0)[:3]
    if image.header["qform_code"] == 0 and image.header["sform_code"] == 0:
        warnings.append("the header gives no orientation: taken as lying upright (LPS)")
        known = min(x, y, z) > 0
        return RawScan(array, grey, (z, y, x) if known else None, None, tuple(warnings))
    affine = _RAS_TO_LPS @ np.asarray(image.affine, dtype=np.float64)
    check_affine(affine, source)
    if np.allclose(np.linalg.norm(affine[:3, :3], axis=0), 1.0, atol=1e-6):
        warnings.append("voxels of exactly 1 x 1 x 1 mm: resampled, or the size is not known")
    return RawScan(array, grey, (z, y, x), affine, tuple(warnings))


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
    with files.replacing(path) as temporary:
        nibabel.save(image, temporary)
