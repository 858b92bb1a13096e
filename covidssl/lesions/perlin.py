"""Fractal Perlin noise in two dimensions, batched in torch on the device of its input.

On a regular grid Perlin noise is a matrix product: with the fade weights W and the fade weights
times distance D of the picture's rows (y) and columns (x), a field is `Wy Gx Dx' + Dy Gy Wx'`.
A row of W or D holds two numbers that are not zero, so the products are taken here as two gathers
and a few multiply-adds. That keeps every pixel's arithmetic apart from every other's: a field has
the same bits whatever batch it is computed in, which a library's matrix product does not promise.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

UNIT_FIELD_SD = 0.21571
"""Standard deviation of one octave of unit gradients, by integrating the identity over a cell."""

_DIRECTIONS = 16
_MASK = 0xFFFFFFFF


class Field(NamedTuple):
    """Which fractal field to draw, a row a picture.

    Attributes:
        seed: (B,) int64; the field depends on it and on nothing else that is random.
        cells: (B, 2) lattice cells of the first octave across the picture's height and width;
            any positive number, whole or not.
        persistence: (B,) amplitude of an octave relative to the one before.
        octaves: (B,) int64, octaves to add up, each at least 1; those after the first whose cells
            would be smaller than a pixel are left out.
    """

    seed: Tensor
    cells: Tensor
    persistence: Tensor
    octaves: Tensor


def perlin(size: tuple[int, int], field: Field, lacunarity: float = 2.0) -> Tensor:
    """Fractal improved Perlin noise, (B, 1, H, W) float32, mean about 0, standard deviation 1.

    Args:
        size: height and width in pixels; need not be divisible by anything.
        field: what to draw, (B, ...) tensors on one device; the noise is made there.
        lacunarity: frequency of an octave relative to the one before.
    """
    batch, device = field.seed.shape[0], field.seed.device
    total = torch.zeros((batch, *size), device=device)
    power = torch.zeros(batch, device=device)
    weight = torch.ones(batch, device=device)
    for octave in range(int(field.octaves.max()) if batch else 0):
        cells = field.cells.double() * lacunarity**octave
        wanted = (octave < field.octaves) & _resolved(cells, size, octave)
        # A weight of exactly 0 adds nothing, so a neighbour with more octaves changes no bit.
        used = torch.where(wanted, weight, torch.zeros_like(weight))
        cells = torch.where(wanted[:, None], cells, torch.ones_like(cells))
        total += used[:, None, None] * _octave(size, field.seed, octave, cells)
        power += used * used
        weight = weight * field.persistence
    return (total / (UNIT_FIELD_SD * power.sqrt())[:, None, None])[:, None]


def lattice_noise(gradients: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """One octave of improved Perlin noise over given gradients, (B, H, W).

    Args:
        gradients: (B, Ky, Kx, 2), the y and x component of the gradient of each lattice point.
        rows: (B, H) float64, the rows' places in lattice units, in [0, Ky - 1).
        columns: (B, W) float64, the columns' places in lattice units, in [0, Kx - 1).
    """
    near_y, weight_y, moment_y = _basis(rows)
    near_x, weight_x, moment_x = _basis(columns)
    # Columns first: the lattice is small, and then whole rows of the picture are copied.
    columnwise = gradients.permute(0, 2, 3, 1)
    left, right = _pick(columnwise, near_x), _pick(columnwise, near_x + 1)
    part_y = left[:, :, 0] * weight_x[0][..., None] + right[:, :, 0] * weight_x[1][..., None]
    part_x = left[:, :, 1] * moment_x[0][..., None] + right[:, :, 1] * moment_x[1][..., None]
    parts = torch.stack([part_x, part_y], dim=1).transpose(2, 3).transpose(1, 2)
    above, below = _pick(parts, near_y), _pick(parts, near_y + 1)
    noise = above[:, :, 0] * weight_y[0][..., None]
    noise += below[:, :, 0] * weight_y[1][..., None]
    noise += above[:, :, 1] * moment_y[0][..., None]
    noise += below[:, :, 1] * moment_y[1][..., None]
    return noise


def gradient_lattice(seed: Tensor, octave: int, size: tuple[int, int]) -> Tensor:
    """Unit gradients of a lattice, (B, Ky, Kx, 2), each a hash of its seed, octave and place.

    Args:
        seed: (B,) int64.
        octave: number of the octave, so that octaves do not repeat each other.
        size: lattice points Ky and Kx; a larger lattice continues a smaller one.
    """
    y = torch.arange(size[0], device=seed.device)[:, None]
    x = torch.arange(size[1], device=seed.device)[None, :]
    key = _hash_seed(seed, octave)[:, None, None]
    choice = _mix(_mix(key ^ y) ^ (x + 0x9E3779B9)) & (_DIRECTIONS - 1)
    angles = [2 * math.pi * (k + 0.5) / _DIRECTIONS for k in range(_DIRECTIONS)]
    table = torch.tensor([[math.sin(a), math.cos(a)] for a in angles], device=seed.device)
    return table[choice]


def _resolved(cells: Tensor, size: tuple[int, int], octave: int) -> Tensor:
    """Whether the lattice is no finer than the pixels, (B,) bool; true for the first octave."""
    pixels = torch.tensor(size, device=cells.device)
    return (cells <= pixels).all(1) | (octave == 0)


def _octave(size: tuple[int, int], seed: Tensor, octave: int, cells: Tensor) -> Tensor:
    """One octave of unit gradients, `cells` (B, 2) across the picture, (B, H, W)."""
    # Every octave is zero at its lattice points: without an offset of its own, all at the same.
    key = _hash_seed(seed, octave)
    offset = torch.stack([_mix(key ^ 0x68BC21EB), _mix(key ^ 0x02E5BE93)], dim=1) / 2.0**32
    places = []
    for axis, pixels in enumerate(size):
        centre = (torch.arange(pixels, device=key.device, dtype=torch.float64) + 0.5) / pixels
        places.append(centre * cells[:, axis, None] + offset[:, axis, None].double())
    points = [int(place.max().floor()) + 2 for place in places]
    gradients = gradient_lattice(seed, octave, (points[0], points[1]))
    return lattice_noise(gradients, places[0], places[1])


def _basis(places: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The two entries a row of W and of D: lattice index, fade weights, weights x distance."""
    near = places.floor()
    t = places - near
    fade = t * t * t * (t * (t * 6 - 15) + 10)
    low, high = 1 - fade, fade
    return near.long(), (low.float(), high.float()), ((low * t).float(), (high * (t - 1)).float())


def _pick(rows: Tensor, index: Tensor) -> Tensor:
    """Rows of (B, K, ...) by an index (B, N) of each sample's own, (B, N, ...)."""
    start = torch.arange(rows.shape[0], device=rows.device)[:, None] * rows.shape[1]
    picked = rows.flatten(0, 1).index_select(0, (index + start).flatten())
    return picked.view(*index.shape, *rows.shape[2:])


def _hash_seed(seed: Tensor, octave: int) -> Tensor:
    """32 random-looking bits for each seed and an octave, (B,) int64 in [0, 2**32)."""
    low, high = seed & _MASK, (seed >> 32) & _MASK
    return _mix(_mix(low ^ (octave * 0x9E3779B1 & _MASK)) ^ high)


def _mix(bits: Tensor) -> Tensor:
    """Scramble 32 bits held in int64 (the "lowbias32" integer hash), the same on every device."""
    bits = bits & _MASK
    bits = ((bits ^ (bits >> 16)) * 0x7FEB352D) & _MASK
    bits = ((bits ^ (bits >> 15)) * 0x846CA68B) & _MASK
    return bits ^ (bits >> 16)
