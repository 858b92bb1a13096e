"""Which lattices a fractal Perlin field is made of: where they lie, how strong, which gradients.

All that is random about a field is hashed from its seed here, so that every backend draws the same
field, and a field has nothing to do with its neighbours in a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

UNIT_FIELD_SD = {2: 0.215711, 3: 0.190944}
"""Standard deviation of one octave of unit gradients, by dimensions: with fade weight w and
distance t, sqrt(2**D * mean(w**2)**(D - 1) * mean((w t)**2)) over a cell."""

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9
_AXIS_KEYS = (0x68BC21EB, 0x02E5BE93, 0x1B56C4E9)


class Field(NamedTuple):
    """Which fractal field to draw, a row a picture; small tensors, best kept on the CPU.

    Attributes:
        seed: (B,) int64; the field depends on it and on nothing else that is random.
        cells: (B, D) lattice cells of the first octave across each axis, (y, x) or (z, y, x); any
            positive number, whole or not.
        persistence: (B,) amplitude of an octave relative to the one before.
        octaves: (B,) int64, octaves to add up, each at least 1; those after the first whose cells
            would be smaller than a pixel are left out.
        lacunarity: (B,) frequency of an octave relative to the one before, more than 1.
    """

    seed: Tensor
    cells: Tensor
    persistence: Tensor
    octaves: Tensor
    lacunarity: Tensor


@dataclass(frozen=True)
class Octaves:
    """The lattices that add up to each of B fields, at most O of them, in D dimensions.

    Attributes:
        start: (B, O, D) place of the first pixel's centre in lattice units, at least 0.
        step: (B, O, D) lattice units from one pixel to the next.
        points: (B, O, D) lattice points that are needed along each axis.
        amplitude: (B, O) float32 factor of each octave.
        count: (B,) octaves of each field; the rest of a row is zero and not used.
        key: (B, O) uint32 from which the gradients are hashed.
    """

    start: NDArray[np.float64]
    step: NDArray[np.float64]
    points: NDArray[np.int64]
    amplitude: NDArray[np.float32]
    count: NDArray[np.int64]
    key: NDArray[np.uint32]


def octaves_of(size: tuple[int, ...], field: Field) -> Octaves:
    """Lay out the lattices of fields of `size` pixels, so that a field's deviation is 1.

    Raises:
        ValueError: for a field that cannot be, with what was expected.
    """
    _check(size, field)
    pixels = np.array(size, np.float64)
    cells = field.cells.cpu().numpy().astype(np.float64)
    ratio = field.lacunarity.cpu().numpy().astype(np.float64)
    asked = field.octaves.cpu().numpy()
    most = int(asked.max(initial=1))
    octave = np.arange(most)
    across = cells[:, None] * (ratio[:, None] ** octave)[:, :, None]
    # A lattice finer than the pixels would only add white noise.
    resolved = np.logical_and.accumulate((across <= pixels).all(2) | (octave == 0), axis=1)
    count = (resolved & (octave < asked[:, None])).sum(1)
    most = int(count.max(initial=1))
    across, octave = across[:, :most], octave[:most]
    amplitude = field.persistence.cpu().numpy().astype(np.float64)[:, None] ** octave
    amplitude[octave >= count[:, None]] = 0.0
    # Added up one by one: numpy's sum goes another way for longer rows, of a larger batch.
    power = (amplitude**2).cumsum(1)[:, -1:]
    amplitude /= UNIT_FIELD_SD[len(size)] * np.sqrt(power)
    key = _hash_seed(field.seed.cpu().numpy(), octave)
    # Every octave is zero at its lattice points: without an offset of its own, all at the same.
    axes = [_mix(key ^ np.uint32(axis)) / 2.0**32 for axis in _AXIS_KEYS[: len(size)]]
    used = (octave < count[:, None])[:, :, None]
    step = np.where(used, across / pixels, 0.0)
    start = np.where(used, np.stack(axes, axis=2) + 0.5 * step, 0.0)
    points = np.floor(start + (pixels - 1) * step).astype(np.int64) + 2
    return Octaves(start, step, points, amplitude.astype(np.float32), count, key)


@lru_cache
def directions(dimensions: int) -> NDArray[np.float32]:
    """The unit gradients that are drawn from, (n, D), n a power of two, components (z,) y, x.

    In two dimensions 16 even angles; in three the 12 corners of an icosahedron and the 20 of its
    dual dodecahedron: up to the fifth power both sets have the moments of a circle or a sphere.
    """
    if dimensions == 2:
        angles = 2 * np.pi * (np.arange(16) + 0.5) / 16
        return np.stack([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
    golden = (1 + math.sqrt(5)) / 2
    cube = [(z, y, x) for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)]
    corners: list[tuple[float, float, float]] = list(cube)
    for a, b in ((1.0, golden), (1 / golden, golden)):
        for sign_a, sign_b in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            one = (0.0, sign_a * a, sign_b * b) if a == 1.0 else (sign_b * b, sign_a * a, 0.0)
            corners += [one, (one[1], one[2], one[0]), (one[2], one[0], one[1])]
    table = np.array(corners)
    return (table / np.linalg.norm(table, axis=1, keepdims=True)).astype(np.float32)


def gradients_of(octaves: Octaves) -> list[Tensor]:
    """The gradients of every lattice: for each octave (B, *points, D) float32 on the CPU.

    Points are as many as the largest of the batch needs: a lattice continues a smaller one.
    """
    table = torch.from_numpy(directions(octaves.points.shape[2]))
    lattices = []
    for octave in range(octaves.points.shape[1]):
        hashed = octaves.key[:, octave]
        points = octaves.points[:, octave].max(axis=0, initial=2)
        for axis, number in enumerate(points):
            # The constant keeps a swap of axes from giving the same gradient.
            place = np.arange(number, dtype=np.uint32) + np.uint32(axis * _GOLDEN & _MASK)
            hashed = _mix(hashed[..., None] ^ place)
        lattices.append(
            table[torch.from_numpy((hashed & np.uint32(len(table) - 1)).astype(np.int64))]
        )
    return lattices


def _check(size: tuple[int, ...], field: Field) -> None:
    batch = field.seed.shape[0]
    expected = {"cells": (batch, len(size)), "persistence": (batch,), "octaves": (batch,)}
    expected["lacunarity"] = (batch,)
    if len(size) not in UNIT_FIELD_SD or min(size) < 1:
        raise ValueError(f"a field has 2 or 3 axes of at least one pixel, got the size {size}.")
    for name, shape in expected.items():
        found = tuple(getattr(field, name).shape)
        if found != shape:
            raise ValueError(f"the field's {name} must be {shape} for {batch} seeds, got {found}.")
    cells, octaves = field.cells.cpu().numpy(), field.octaves.cpu().numpy()
    persistence, lacunarity = field.persistence.cpu().numpy(), field.lacunarity.cpu().numpy()
    if not ((cells > 0) & (cells < np.inf)).all():
        raise ValueError("the field's cells must be finite and more than 0.")
    if not ((persistence > 0) & (persistence < np.inf)).all():
        raise ValueError("the field's persistence must be finite and more than 0.")
    if not ((lacunarity > 1) & (lacunarity < np.inf)).all():
        raise ValueError("the field's lacunarity must be finite and more than 1.")
    if not ((octaves >= 1) & (octaves <= 32)).all():
        raise ValueError("the field's octaves must lie in 1 to 32.")


def _hash_seed(seed: NDArray[np.int64], octave: NDArray[np.int64]) -> NDArray[np.uint32]:
    """32 random-looking bits for each seed and octave, (B, O)."""
    low, high = (seed & _MASK).astype(np.uint32), ((seed >> 32) & _MASK).astype(np.uint32)
    number = (octave * _GOLDEN & _MASK).astype(np.uint32)
    return _mix(_mix(low[:, None] ^ number) ^ high[:, None])


def _mix(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Scramble 32 bits (the "lowbias32" integer hash)."""
    bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B)
    return bits ^ (bits >> np.uint32(16))
