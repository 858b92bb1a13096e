"""Which lattices a fractal Perlin field is made of: where they lie, how strong, which gradients.

All that is random about a field is hashed from its seed here, so that every backend draws the same
field, and a field has nothing to do with its neighbours in a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

UNIT_FIELD_SD = {2: 0.215711, 3: 0.190944}
"""Standard deviation of one octave of unit gradients, by dimensions: with fade weight w and
distance t, sqrt(2**D * mean(w**2)**(D - 1) * mean((w t)**2)) over a cell."""

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9
_MOST_CELLS, _MOST_CELLS_A_PIXEL = 64, 8  # beyond a cell a pixel a field is white noise
# Any numbers that differ: they make an axis's offset another hash of the octave's key.
_AXIS_KEYS = (0x68BC21EB, 0x02E5BE93, 0x1B56C4E9)


class Field(NamedTuple):
    """Which fractal field to draw, a row a picture; small tensors, best kept on the CPU.

    Attributes:
        seed: (B,) int64; the field depends on it and on nothing else that is random.
        cells: (B, D) lattice cells of the first octave across each axis, (y, x) or (z, y, x);
            whole or not, more than 0, up to 64 or 8 a pixel.
        persistence: (B,) amplitude of an octave relative to the one before, up to 16.
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
    cells, ratio = _numbers(field.cells), _numbers(field.lacunarity)
    asked = field.octaves.cpu().numpy()
    most = int(asked.max(initial=1))
    octave = np.arange(most)
    across = cells[:, None] * (ratio[:, None] ** octave)[:, :, None]
    # A lattice finer than the pixels would only add white noise.
    resolved = np.logical_and.accumulate((across <= pixels).all(2) | (octave == 0), axis=1)
    count = (resolved & (octave < asked[:, None])).sum(1)
    most = int(count.max(initial=1))
    across, octave = across[:, :most], octave[:most]
    amplitude = _numbers(field.persistence)[:, None] ** octave
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
    everything = slice(None), slice(None)
    return [gradients_within(octaves, o, *everything) for o in range(octaves.points.shape[1])]


def gradients_within(octaves: Octaves, octave: int, fields: slice, rows: slice) -> Tensor:
    """The gradients of some fields' lattice, and of some of its points along the first axis."""
    table = torch.from_numpy(directions(octaves.points.shape[2]))
    hashed = octaves.key[fields, octave]
    for axis, number in enumerate(octaves.points[fields, octave].max(axis=0, initial=2)):
        places = np.arange(number, dtype=np.uint32)[rows if axis == 0 else slice(None)]
        # The constant keeps a swap of axes from giving the same gradient.
        hashed = _mix(hashed[..., None] ^ (places + np.uint32(axis * _GOLDEN & _MASK)))
    choice = torch.from_numpy((hashed & np.uint32(len(table) - 1)).astype(np.int32))
    return table.index_select(0, choice.flatten()).view(*choice.shape, -1)


def _check(size: tuple[int, ...], field: Field) -> None:
    if len(size) not in UNIT_FIELD_SD or min(size) < 1:
        raise ValueError(f"a field has 2 or 3 axes of at least one pixel, got the size {size}.")
    if field.seed.ndim != 1:
        raise ValueError(f"the field's seed must be (B,), got {tuple(field.seed.shape)}.")
    batch = len(field.seed)
    for name in ("seed", "octaves"):
        if getattr(field, name).is_floating_point():
            raise ValueError(f"the field's {name} must be whole numbers, not floating point.")
    for name in ("cells", "persistence", "octaves", "lacunarity"):
        shape = (batch, len(size)) if name == "cells" else (batch,)
        found = tuple(getattr(field, name).shape)
        if found != shape:
            raise ValueError(f"the field's {name} must be {shape} for {batch} seeds, got {found}.")
    most = np.maximum(_MOST_CELLS, _MOST_CELLS_A_PIXEL * np.array(size))
    limits: dict[str, tuple[float, Any]] = {
        "cells": (0.0, most),
        "persistence": (0.0, 16.0),
        "lacunarity": (1.0, 1000.0),
        "octaves": (0.0, 32.0),
    }
    for name, (low, high) in limits.items():
        values = _numbers(getattr(field, name))
        if not ((values > low) & (values <= high)).all():
            raise ValueError(f"the field's {name} must be more than {low:g} and at most {high}.")


def _numbers(values: Tensor) -> NDArray[np.float64]:
    return values.detach().cpu().double().numpy()


def _hash_seed(seed: NDArray[np.int64], octave: NDArray[np.int64]) -> NDArray[np.uint32]:
    """32 random-looking bits for each seed and octave, (B, O)."""
    low, high = (seed & _MASK).astype(np.uint32), ((seed >> 32) & _MASK).astype(np.uint32)
    number = (octave * _GOLDEN & _MASK).astype(np.uint32)
    return _mix(_mix(low[:, None] ^ number) ^ high[:, None])


def _mix(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Scramble 32 bits: the integer hash "lowbias32" (C. Wellons, hash-prospector, 2018)."""
    bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B)
    return bits ^ (bits >> np.uint32(16))
