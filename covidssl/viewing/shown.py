"""A scan and its maps as the viewer gets them: upright NIfTI in memory, nothing of a header."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from covidssl.errors import ScanError, UsageError
from covidssl.io import find_scans, read_map, read_scan, volume_bytes
from covidssl.io.choice import choose_series
from covidssl.volume import Volume

_MOST_APART = 0.05  # of a voxel's edge
_LISTED = 8


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


def shown_scan(path: Path, series: str | None = None) -> Volume:
    """The one scan at `path`, upright, with an affine that the viewer can place it by.

    Args:
        path: whatever `find_scans` reads.
        series: the name of one scan, where there are several.

    Raises:
        UsageError: when there is nothing, or several scans and none of them was named.
        ScanError: when it cannot be read.
    """
    scans = find_scans([path]).scans
    if series is not None:
        scans = tuple(scan for scan in scans if scan.name == series)
    elif len(scans) > 1:
        scans = choose_series(scans).scans
    if len(scans) != 1:
        names = [scan.name for scan in (scans or find_scans([path]).scans)]
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        wrong = f"there is no scan called {series!r}" if series else f"holds {len(names)} scans"
        raise UsageError(
            f"{path}: {wrong}. Give one of them with --series: {', '.join(names[:_LISTED])}{more}."
        )
    return read_scan(scans[0])


def shown_map(path: Path, ct: Volume) -> Volume:
    """A map of the scan, on its grid; what a colour means is left to the reader.

    Raises:
        ScanError: when it cannot be read, or lies on another grid than the scan.
    """
    found = read_map(path)
    if found.array.shape != ct.array.shape:
        raise ScanError(
            f"{path.name}: is a map of {_size(found)} voxels (columns x rows x slices), but the "
            f"scan has {_size(ct)}. Give a map in the scan's own geometry; resample it otherwise."
        )
    apart = _apart(found, ct)
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


def _apart(one: Volume, other: Volume) -> float:
    """How far the corners of two grids lie apart, in voxels; 0 where one says no place."""
    if one.affine is None or other.affine is None:
        return 0.0
    ends = [[0, edge - 1] for edge in reversed(one.array.shape)]
    corners = np.array(np.meshgrid(*ends, [1])).reshape(4, -1)
    voxels = np.linalg.solve(other.affine, one.affine @ corners) - corners
    return float(np.abs(voxels[:3]).max())
