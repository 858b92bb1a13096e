"""Perlin noise as sparse matrix products in plain torch: on any device, with nothing to compile.

With the fade weights W and the fade weights times distance D of the places along y and x, a field
is `Wy Gx Dx' + Dy Gy Wx'`; one more axis contracts once more. A row of W or D holds two numbers
that are not zero, so a product is two gathers and two multiply-adds. That keeps the arithmetic of
every pixel apart from every other's: a field has the same bits in any batch, which a library's
matrix product does not promise.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from covidssl.perlin.lattice import Octaves, gradients_within

_PIECES = 16
"""Products are taken in so many parts: each needs up to some twenty times the memory of its result,
the most where the lattice is as fine as the pixels."""


def draw(
    size: tuple[int, ...],
    octaves: Octaves,
    device: torch.device,
    gradients: list[Tensor] | None = None,
) -> Tensor:
    """The fields, (B, *size) float32.

    Args:
        size: pixels along each axis.
        octaves: the lattices to add up.
        device: where it is computed and stays.
        gradients: for each octave (B, *points, D); None for those that belong to the octaves.
    """
    out = torch.zeros((len(octaves.count), *size), device=device)
    for fields, lines in _pieces(len(out), size[0]):
        piece = out[fields, lines]
        for octave in range(octaves.start.shape[1]):
            places = [
                octaves.start[fields, octave, axis, None]
                + np.arange(n)[lines if axis == 0 else slice(None)]
                * octaves.step[fields, octave, axis, None]
                for axis, n in enumerate(size)
            ]
            # Of the lattice no more than the lines of this piece lie between.
            first = int(places[0].min())
            rows = slice(first, int(places[0].max()) + 2)
            places[0] -= first
            if gradients is None:
                lattice = gradients_within(octaves, octave, fields, rows)
            else:
                lattice = gradients[octave][fields, rows]
            # A factor of exactly 0 adds nothing: a neighbour with more octaves changes no bit.
            amplitude = torch.from_numpy(octaves.amplitude[fields, octave]).to(device)
            noise = _octave(places, lattice.to(device))
            piece.addcmul_(noise, amplitude.view(-1, *(1,) * len(size)))
    return out


def _pieces(batch: int, lines: int) -> list[tuple[slice, slice]]:
    """Parts of the work: some fields, or where there are few, some lines of one."""
    if batch >= _PIECES:
        step = -(-batch // _PIECES)
        return [(slice(i, i + step), slice(None)) for i in range(0, batch, step)]
    bands = -(-_PIECES // max(batch, 1))
    step = -(-lines // bands)
    return [
        (slice(b, b + 1), slice(i, i + step)) for b in range(batch) for i in range(0, lines, step)
    ]


def _octave(places: list[NDArray[np.float64]], lattice: Tensor) -> Tensor:
    """One octave at places (B, n) along each axis, contracted from the last axis to the first."""
    parts = list(lattice.unbind(-1))
    noise: Tensor | None = None
    for axis in reversed(range(len(places))):
        near, weights, moments = _basis(places[axis], lattice.device)
        moved = _contract(parts.pop(), near, moments, axis)
        if noise is not None:
            moved += _contract(noise, near, weights, axis)
        noise = moved
        parts = [_contract(part, near, weights, axis) for part in parts]
    assert noise is not None  # noqa: S101 (there are at least two axes)
    return noise


def _basis(places: NDArray[np.float64], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """What a row of W and of D holds, each (2, B, n) but for the lattice index (B, n)."""
    near = np.floor(places)
    t = places - near
    fade = t * t * t * (t * (t * 6 - 15) + 10)
    weights = torch.from_numpy(np.stack([1 - fade, fade]).astype(np.float32))
    moments = torch.from_numpy(np.stack([(1 - fade) * t, fade * (t - 1)]).astype(np.float32))
    index = torch.from_numpy(near.astype(np.int64))
    return index.to(device), weights.to(device), moments.to(device)


def _contract(values: Tensor, near: Tensor, factors: Tensor, axis: int) -> Tensor:
    """Replace the lattice points along one axis by pixels: two gathers and two multiply-adds."""
    shape = [len(near), *(1,) * (values.ndim - 1)]
    shape[1 + axis] = near.shape[1]
    index = near.view(shape)
    low = torch.take_along_dim(values, index, 1 + axis)
    high = torch.take_along_dim(values, index + 1, 1 + axis)
    return low.mul_(factors[0].view(shape)).addcmul_(high, factors[1].view(shape))
