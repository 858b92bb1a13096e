"""A scan and its maps as the viewer gets them: upright NIfTI in memory, nothing of a header."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError, UsageError
from covidssl.io import Reading, choose_series, find_scans, read_map, read_scan, volume_bytes
from covidssl.io.orient import upright_affine
from covidssl.volume import Volume

_MOST_APART = 0.05  # of a voxel's edge
_LISTED = 8
AS_IT_IS = Reading()


@dataclass(frozen=True)
class Shown:
    """One volume for the viewer.

    Attributes:
        name: in the list of the page.
        nifti: a whole `.nii`.
        low: value at which colours begin.
        high: value at which they end.
    """

    name: str
    nifti: bytes
    low: float
    high: float


class Looked(NamedTuple):
    """The scan that is looked at.

    Attributes:
        ct: upright.
        passed_over: DICOM series of its folder that were not taken, each with the reason.
    """

    ct: Volume
    passed_over: tuple[str, ...] = ()


def shown_scan(path: Path, series: str | None = None, reading: Reading = AS_IT_IS) -> Looked:
    """The one scan at `path`; of several DICOM series of a folder, one by `choose_series`.

    Args:
        path: whatever `find_scans` reads.
        series: the name of one scan, where there are several.
        reading: what the values mean, and whether defects are mended.

    Raises:
        UsageError: when there is nothing, or several scans and none of them was named.
        ScanError: when it cannot be read.
    """
    scans = find_scans([path]).scans
    passed_over: tuple[str, ...] = ()
    if series is not None:
        scans = tuple(scan for scan in scans if scan.name == series)
    elif len(scans) > 1:
        choice = choose_series(scans)
        scans = choice.scans
        passed_over = tuple(f"{scan.name}: {why}" for scan, why in choice.passed_over)
    if len(scans) != 1:
        names = [scan.name for scan in (scans or find_scans([path]).scans)]
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        wrong = f"there is no scan called {series!r}" if series else f"holds {len(names)} scans"
        raise UsageError(
            f"{path}: {wrong}. Give one of them with --series: {', '.join(names[:_LISTED])}{more}."
        )
    return Looked(read_scan(scans[0], reading), passed_over)


def shown_map(path: Path, ct: Volume) -> Volume:
    """A map of the scan, on its grid; what a colour means is left to the reader.

    Raises:
        ScanError: when it is no NIfTI, cannot be read, or lies on another grid than the scan.
    """
    formats = {scan.format for scan in find_scans([path]).scans}
    if formats - {"nifti", "unreadable"}:
        # A picture of a map holds bytes, and how they are to be read is not said by its format.
        raise ScanError(
            f"{path.name}: a map is a NIfTI file (.nii, .nii.gz), and this is read as "
            f"{', '.join(sorted(formats))}. The maps that 'predict' makes of a picture are "
            f"shown by 'covidssl report'."
        )
    found = read_map(path)
    if found.array.shape != ct.array.shape:
        raise ScanError(
            f"{path.name}: is a map of {_size(found)} voxels (columns x rows x slices), but the "
            f"scan has {_size(ct)}. Give a map in the scan's own geometry; resample it otherwise."
        )
    places = {name: _place(one) for name, one in (("map", found), ("scan", ct))}
    if (places["map"] is None) != (places["scan"] is None):
        silent, other = sorted(places, key=lambda name: places[name] is not None)
        raise ScanError(
            f"{path.name}: the {other} says how it lies in the patient, and the {silent} does not: "
            f"one of them could be mirrored without anybody seeing it. Give a map in the scan's "
            f"own geometry."
        )
    apart = _apart(places["map"], places["scan"], ct.array.shape)
    if apart > _MOST_APART:
        raise ScanError(
            f"{path.name}: lies up to {apart:.1f} voxels beside the scan, though it has as many "
            f"voxels. It belongs to another scan, or was moved: give the map of this one."
        )
    return replace(found, affine=ct.affine, spacing_mm=ct.spacing_mm)


def for_the_viewer(volume: Volume, name: str) -> Shown:
    """The volume as bytes, and the range of its values."""
    low, high = float(np.min(volume.array)), float(np.max(volume.array))
    return Shown(name, volume_bytes(_placed(volume)), low, high)


def _placed(volume: Volume) -> Volume:
    """With an affine: what says nothing of its place lies upright at the origin."""
    if volume.affine is not None:
        return volume
    z, y, x = volume.spacing_mm or (1.0, 1.0, 1.0)
    return replace(volume, affine=np.diag([x, y, z, 1.0]))


def _size(volume: Volume) -> str:
    return " x ".join(str(edge) for edge in reversed(volume.array.shape))


def _place(volume: Volume) -> NDArray[np.float64] | None:
    """From voxels to LPS; without lengths in mm where the voxels' size is not known."""
    if volume.affine is None and volume.stored is not None:
        return upright_affine(volume.stored.shape, volume.stored.affine)
    return volume.affine


def _apart(
    one: NDArray[np.float64] | None, other: NDArray[np.float64] | None, shape: tuple[int, ...]
) -> float:
    """How far the corners of two grids lie apart, in voxels; 0 where neither says its place."""
    if one is None or other is None:
        return 0.0
    ends = [[0, edge - 1] for edge in reversed(shape)]
    corners = np.array(np.meshgrid(*ends, [1])).reshape(4, -1)
    voxels = np.linalg.solve(other, one @ corners) - corners
    return float(np.abs(voxels[:3]).max())
