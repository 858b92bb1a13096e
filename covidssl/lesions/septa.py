"""The polygonal mesh of crazy paving: borders between the cells of seeded, jittered points.

Each lattice cell holds one point at a hashed place (Worley's cellular noise). Where the two nearest
points are equally far, two polygons meet: second distance less the first is 0 there. A cell's point
is a hash of seed and cell alone, so that a mesh has the same bits in any batch and on any grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MESH = 0x3C6EF372
_JITTER = 0.8


def septa(places: Sequence[Tensor], picture: Tensor, seed: Tensor, cells: Sequence[int]) -> Tensor:
    """Distance to the second nearest point less that to the nearest, (N,), in cells.

    The value grows with slope 2 from a border whose two points lie straight across it.

    Args:
        places: for each axis (two or three), places of the voxels in cells, (N,) float32, >= 0.
        picture: (N,) int64, which of `seed` a voxel belongs to.
        seed: (B,) int64.
        cells: for each axis, a whole number that no place lies beyond.
    """
    near = [place.floor() for place in places]
    within = [place - cell for place, cell in zip(places, near, strict=True)]
    # One more cell on each side, since a neighbour's point may be the nearest.
    size = [count + 3 for count in cells]
    points = [axis.flatten() for axis in _points(seed, size)]
    index = picture
    for cell, count in zip(near, size, strict=True):
        index = index * count + (cell.long() + 1)
    nearest = torch.full_like(places[0], 1e9)
    second = nearest.clone()
    for neighbour in product((-1, 0, 1), repeat=len(size)):
        offset = 0
        for step, count in zip(neighbour, size, strict=True):
            offset = offset * count + step
        there = index + offset
        squared = torch.zeros_like(nearest)
        for point, step, place in zip(points, neighbour, within, strict=True):
            away = point.index_select(0, there).add_(step).sub_(place)
            squared.add_(away.mul_(away))
        second = torch.minimum(second, torch.maximum(nearest, squared))
        nearest = torch.minimum(nearest, squared)
    return second.sqrt_().sub_(nearest.sqrt_())


def _points(seed: Tensor, size: Sequence[int]) -> list[Tensor]:
    """Where the point of each cell lies in it, a (B, *size) float32 tensor an axis."""
    key = _mix(_mix((seed & _MASK) ^ _MESH) ^ ((seed >> 32) & _MASK))
    key = key.view(-1, *[1] * len(size))
    for axis, count in enumerate(size):
        shape = [count if k == axis else 1 for k in range(len(size))]
        key = _mix(key ^ torch.arange(count, device=seed.device).view(1, *shape))
    low = (1 - _JITTER) / 2
    return [
        (_mix(key ^ (0x9E3779B9 * (axis + 1) & _MASK)) * (_JITTER / 2.0**32) + low).float()
        for axis in range(len(size))
    ]


def _mix(bits: Tensor) -> Tensor:
    """Scramble 32 bits held in int64 (the "lowbias32" integer hash), the same on every device."""
    bits = bits & _MASK
    bits = ((bits ^ (bits >> 16)) * 0x7FEB352D) & _MASK
    bits = ((bits ^ (bits >> 15)) * 0x846CA68B) & _MASK
    return bits ^ (bits >> 16)
