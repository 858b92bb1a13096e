"""Lung masks that the user has already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from covidssl.errors import ScanError, UsageError
from covidssl.lungs.finding import lungs_of
from covidssl.lungs.result import Lungs
from covidssl.lungs.sides import told_apart
from covidssl.volume import Volume

_NIFTI = ".nii.gz"
_ENDINGS = (_NIFTI, ".nii", ".mha", ".mhd", ".nrrd", ".png")
_SCAN_ENDINGS = (*_ENDINGS, ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".zip")
_WITHIN = 0.5  # voxels: more, and the mask lies elsewhere


def given_lungs(ct: Volume, folder: Path, name: str | None = None) -> Lungs:
    """The lungs of a scan from a folder of masks; every label above 0 is lung.

    A mask is called as its scan is, in the same sub-folder: `a/scan.nii.gz` for `a/scan.nii.gz`
    (or with another ending of a volume, or `.png`), `a/series.nii.gz` for the DICOM series
    `a/series`.

    Args:
        ct: upright scan.
        folder: of the masks.
        name: of the scan, relative to the INPUT; None for `ct.source`.

    Raises:
        UsageError: when there is no such folder.
        ScanError: `no_mask` when the scan has no mask there, or an empty one; `mask_geometry`
            when its grid is another one.
    """
    # Reading is not needed where the lungs are known: not on a bare GPU node.
    from covidssl.io import read_mask

    if not folder.is_dir():
        raise UsageError(f"{folder.name}: no such folder of lung masks.")
    name = name or ct.source
    names = list(mask_names(name))
    found = next((each for each in names if (folder / each).is_file()), None)
    if found is None:
        raise ScanError(
            f"{ct.source}: no lung mask; expected {names[0]} in the folder of masks. Add it, or "
            f"prepare without given masks.",
            code="no_mask",
        )
    mask = read_mask(folder / found)
    _check_grid(ct, mask, found if name == ct.source else "its lung mask")
    array = np.asarray(mask.array, dtype=np.bool_)
    if not array.any():
        raise ScanError(f"{ct.source}: its lung mask is empty.", code="no_mask")
    return lungs_of(ct, array, told_apart(array))


def mask_names(name: str) -> Iterator[str]:
    """Names that a scan's mask may have, the expected one first."""
    path = PurePosixPath(name)
    if not path.name:
        return
    ending = next((end for end in _SCAN_ENDINGS if path.name.lower().endswith(end)), "")
    stem = path.name[: -len(ending)] if ending else path.name
    if ending in _ENDINGS:
        yield str(path)
    for end in _ENDINGS:
        yield str(path.with_name(stem + end))
    yield str(path.with_name(path.name + _NIFTI))


def _check_grid(ct: Volume, mask: Volume, name: str) -> None:
    """Raise when a mask lies on another grid; without an orientation only the shape is known."""
    if mask.array.shape != ct.array.shape:
        raise ScanError(
            f"{ct.source}: {name} has shape {_shape(mask)}, the scan {_shape(ct)} (slices, rows, "
            f"columns). Give the mask on the scan's own grid.",
            code="mask_geometry",
        )
    if ct.affine is None or mask.affine is None:
        return
    depth, rows, columns = ct.array.shape
    corners = np.array(
        [[x, y, z, 1] for x in (0, columns - 1) for y in (0, rows - 1) for z in (0, depth - 1)]
    )
    away = np.linalg.norm((corners @ (ct.affine - mask.affine).T)[:, :3], axis=1).max()
    voxel = float(np.linalg.norm(ct.affine[:3, :3], axis=0).min())
    if away > _WITHIN * voxel:
        raise ScanError(
            f"{ct.source}: {name} lies up to {away:.1f} mm from the scan, expected "
            f"{_WITHIN * voxel:.1f} mm at most. Give the mask on the scan's own grid.",
            code="mask_geometry",
        )


def _shape(volume: Volume) -> str:
    return " x ".join(map(str, volume.array.shape))
