"""A scan as its file has it: before it is turned upright and its values are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.noted import Noted

Spacing = tuple[float, float, float]

MOST_VOXELS = 2**31
"""A header that claims more is taken for damaged, before memory is asked for."""

LEAST_EDGE = 32
"""An axial CT slice has at least so many pixels along each edge."""

MOST_DEFLATED = 1032
"""Deflate (gzip, zlib) shrinks nothing by more."""

_VOXEL_EDGE_MM = (0.01, 100.0)

MOST_SHEAR_DEGREES = 0.5
"""Voxel axes further off a right angle mean a tilted gantry or a damaged header."""


@dataclass(frozen=True)
class RawScan:
    """What a reader of one format gives.

    Attributes:
        array: stored values with the file's own scaling applied, shape (Z, Y, X).
        grey: whether the format says 8-bit grey values (a picture, or an unscaled uint8 volume).
        spacing_mm: (z, y, x), or None where the file does not say it.
        affine: (4, 4) from voxel index (x, y, z, 1) to LPS mm, or None where the file does not say
            how the scan lies; without `spacing_mm` its lengths mean nothing.
        warnings: what was odd, in plain words.
        repairs: what was mended, in plain words and with numbers.
        patient: pseudonym of the header's patient, or empty.
        series: pseudonym of the header's series, or empty.
        picture: whether it comes from a picture file.
        files: which file shows each plane (see `StoredGrid`).
    """

    array: NDArray[Any]
    grey: bool
    spacing_mm: Spacing | None
    affine: NDArray[np.float64] | None
    warnings: tuple[Noted, ...] = ()
    repairs: tuple[str, ...] = ()
    patient: str = ""
    series: str = ""
    picture: bool = False
    files: tuple[int | None, ...] = ()


def check_size(shape: tuple[int, ...], source: str) -> None:
    """Refuse a shape that no scan has.

    Raises:
        ScanError: when an axis is empty or the number of voxels is absurd.
    """
    voxels = float(np.prod(np.asarray(shape, dtype=np.float64)))
    if min(shape, default=0) < 1 or voxels > MOST_VOXELS:
        raise ScanError(
            f"{source}: the header claims a shape of {shape}; no scan has that. "
            f"The header is damaged.",
            "damaged_header",
        )


def check_room(bytes_claimed: int, paths: Sequence[Path], packed: bool, source: str) -> None:
    """Refuse a header that claims more voxels than its files can hold, before memory is asked for.

    Args:
        bytes_claimed: of all voxels.
        paths: the files that hold them; missing ones count as empty.
        packed: whether they may be compressed.
        source: the scan's name for messages.

    Raises:
        ScanError: when even the best compression could not hold so much.
    """
    there = sum(path.stat().st_size for path in paths if path.is_file())
    if bytes_claimed > there * (MOST_DEFLATED if packed else 1):
        raise ScanError(
            f"{source}: the file is truncated: its header claims {bytes_claimed} bytes of voxels, "
            f"and {there} are there{', compressed' if packed else ''}. Copy or download it again.",
            "truncated",
        )


def check_affine(affine: NDArray[np.float64], source: str) -> None:
    """Refuse an affine that maps no volume, or a sheared one.

    Raises:
        ScanError: when it is not finite, its voxels have no volume or one that no scanner makes, or
            their edges are no right angles.
    """
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ScanError(
            f"{source}: the affine in the header is degenerate (its voxels have no volume), "
            f"so the orientation cannot be known. Repair the header or convert the scan again.",
            "damaged_header",
        )
    edges_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if edges_mm.min() < _VOXEL_EDGE_MM[0] or edges_mm.max() > _VOXEL_EDGE_MM[1]:
        raise ScanError(
            f"{source}: voxels of {' x '.join(f'{edge:.3g}' for edge in edges_mm)} mm in the "
            f"header; expected edges of {_VOXEL_EDGE_MM[0]:g} to {_VOXEL_EDGE_MM[1]:g} mm. Is its "
            f"unit right? Repair the header or convert the scan again.",
            "damaged_header",
        )
    shear = _shear_degrees(affine)
    if shear > MOST_SHEAR_DEGREES:
        raise ScanError(
            f"{source}: the voxel axes in the header are {shear:.1f} degrees off a right angle (a "
            f"tilted gantry, or a damaged header); expected right angles. Resample the scan to an "
            f"upright grid first.",
            "sheared",
        )


def _shear_degrees(affine: NDArray[np.float64]) -> float:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs(np.triu(axes.T @ axes, k=1))
    return float(np.degrees(np.arcsin(min(1.0, float(cosines.max())))))
