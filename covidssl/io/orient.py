"""Turning a scan upright: axes permuted and flipped, the affine kept exact, nothing resampled."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl.io.raw import Spacing


def upright(
    array: NDArray[Any], affine: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[np.float64], Spacing]:
    """Turn a scan so that its axes run towards head (Z), back (Y) and the patient's left (X).

    An oblique grid is turned to the nearest axes and stays oblique.

    Args:
        array: shape (Z, Y, X), in the order of the file.
        affine: (4, 4) from voxel index (x, y, z, 1) to LPS mm.

    Returns:
        array, affine and spacing (z, y, x) in mm of the upright scan; each voxel keeps its value
        and its place in the world.
    """
    turned = upright_affine(array.shape, affine)
    zyx = np.ascontiguousarray(upright_view(array, affine))
    return zyx, turned, spacing_of(turned)


def upright_affine(shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine of a scan of `shape` (Z, Y, X), in the order of the file, once it is upright."""
    axes, flips = _turns(affine)
    turned = affine.copy()
    size = shape[::-1]
    for world, (voxel, flip) in enumerate(zip(axes, flips, strict=True)):
        step = affine[:3, voxel]
        turned[:3, world] = -step if flip else step
        if flip:
            turned[:3, 3] += step * (size[voxel] - 1)
    return turned


def upright_view(array: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """The same voxels seen upright: writing into the view fills the array in its file's order.

    Args:
        array: shape (Z, Y, X), in the order of the file.
        affine: (4, 4) from voxel index (x, y, z, 1) of the file to LPS mm.
    """
    axes, flips = _turns(affine)
    xyz = np.transpose(np.transpose(array, (2, 1, 0)), axes)
    xyz = xyz[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return np.transpose(xyz, (2, 1, 0))


def _turns(affine: NDArray[np.float64]) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """For each axis of the patient (x, y, z): which axis of the file it is, and whether back."""
    axes = _voxel_axis_of_world(affine)
    return axes, tuple(bool(affine[world, voxel] < 0) for world, voxel in enumerate(axes))


def degrees_off_axes(affine: NDArray[np.float64]) -> float:
    """Angle between an upright scan's axes and the patient's: the widest of the three, degrees.

    Args:
        affine: (4, 4) of a scan that `upright` has turned, to LPS mm.
    """
    steps = affine[:3, :3]
    cosines = np.diag(steps) / np.linalg.norm(steps, axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0))).max())


def spacing_of(affine: NDArray[np.float64]) -> Spacing:
    """Voxel size (z, y, x) in mm: the lengths of the affine's columns."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return float(z), float(y), float(x)


def _voxel_axis_of_world(affine: NDArray[np.float64]) -> tuple[int, ...]:
    steps = affine[:3, :3]
    alignment = np.abs(steps / np.linalg.norm(steps, axis=0))
    return max(
        permutations(range(3)),
        key=lambda axes: sum(alignment[world, voxel] for world, voxel in enumerate(axes)),
    )
