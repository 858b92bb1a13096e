"""Improved Perlin noise in plain vectorised numpy: the per-pixel formula, over whole arrays.

After Ken Perlin, "Improving noise", SIGGRAPH 2002, as the `noise` package computes it at base 0:
the rival that anyone would write first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_GRADIENTS = np.array(
    [
        [1, 1, 0], [-1, 1, 0], [1, -1, 0], [-1, -1, 0],
        [1, 0, 1], [-1, 0, 1], [1, 0, -1], [-1, 0, -1],
        [0, 1, 1], [0, -1, 1], [0, 1, -1], [0, -1, -1],
        [1, 0, -1], [-1, 0, -1], [0, -1, 1], [0, 1, 1],
    ],
    dtype=np.float32,
)  # fmt: skip


def plain_perlin(
    axes: Sequence[Floats], octaves: int, permutation: NDArray[np.int64], persistence: float = 0.5
) -> Floats:
    """Fractal noise on a grid, lacunarity 2, divided by the sum of the amplitudes.

    Args:
        axes: places along each axis in lattice units, the axis that the hash begins with first;
            the result has one axis for each.
        octaves: octaves to add up.
        permutation: the numbers 0 to 255 in some order.
        persistence: amplitude of an octave relative to the one before.
    """
    table = np.concatenate([permutation, permutation])
    total = np.zeros([len(axis) for axis in axes], dtype=np.float32)
    amplitude, reach = 1.0, 0.0
    for octave in range(octaves):
        total += np.float32(amplitude) * _octave([axis * 2**octave for axis in axes], table)
        reach += amplitude
        amplitude *= persistence
    return total / np.float32(reach)


def _octave(axes: Sequence[Floats], table: NDArray[np.int64]) -> Floats:
    dimensions = len(axes)
    near, rest, fade = [], [], []
    for dimension, axis in enumerate(axes):
        shape = [-1 if other == dimension else 1 for other in range(dimensions)]
        cell = np.floor(axis)
        t = axis - cell
        near.append((cell.astype(np.int64) & 255).reshape(shape))
        rest.append(t.reshape(shape))
        fade.append((t * t * t * (t * (t * 6 - 15) + 10)).reshape(shape))
    noise: Floats = np.zeros([len(axis) for axis in axes], dtype=np.float32)
    for corner in product((0, 1), repeat=dimensions):
        hashed: NDArray[np.int64] = np.zeros([1] * dimensions, dtype=np.int64)
        for step, cell in zip(corner, near, strict=True):
            hashed = table[hashed + ((cell + step) & 255)]
        # In the plane the corner's number goes through the table once more.
        gradient = _GRADIENTS[(table[hashed] if dimensions == 2 else hashed) & 15]
        ramp = sum(
            (gradient[..., axis] * (rest[axis] - np.float32(corner[axis])))
            for axis in range(dimensions)
        )
        weight = np.ones([1] * dimensions, dtype=np.float32)
        for step, faded in zip(corner, fade, strict=True):
            weight = weight * (faded if step else 1 - faded)
        noise += weight * ramp
    return noise
