"""Perlin noise as one fused kernel on a GPU, compiled by Triton.

As in `covidssl.perlin.rows` a lattice row is along x two numbers a pixel. Here a program draws a
tile of lines: for every octave and every lattice row in its reach it makes these two numbers once
for each column and adds them to all lines of the tile, weighed by what a first kernel put down for
each line: nothing where the row is out of reach. The sum stays in registers until it is written,
once. In three dimensions a tile has several planes, for each of which the rows of the lattice
planes in reach are folded into one.

Triton is imported when the first field is drawn, and compiles once a machine.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from covidssl.perlin.lattice import Octaves, directions

_FLAT_TILE = (1, 16, 128)
_DEEP_TILE = (8, 8, 64)
"""Planes, lines and pixels of a line that a program draws. More lines read fewer gradients a pixel
but multiply by more zeros; the sum of every pixel lies in a register of one of 32 threads."""

_OPTIONS = {"num_warps": 1, "enable_fp_fusion": True}
"""One warp a program: several would each make the two numbers of every column."""

_HASHED = 256
"""Lattice points that a program hashes at a time."""

_SHARES = 64
"""The most programs that prepare one lattice."""

_MOST_POINTS, _MOST_IN_ALL = 1 << 20, 1 << 30
"""Lattice points along an axis and in a lattice that the kernels' whole numbers have room for."""


class Prepared(NamedTuple):
    """What the drawing kernel reads, on the device.

    Attributes:
        laid: (B, O, COLUMNS) int64, as `covidssl.perlin.fused_kernels` lists them.
        gradients: (points of all fields and octaves, 2 or 4) float32, (y, x) or (z, y, x, 0).
        weights: float32, what lattice rows weigh for lines and lattice planes for planes.
    """

    laid: Tensor
    gradients: Tensor
    weights: Tensor


def at_hand() -> bool:
    """Whether there is a CUDA device, and Triton is installed."""
    return torch.cuda.is_available() and _has_triton()


def draw(
    size: tuple[int, ...],
    octaves: Octaves,
    device: torch.device,
    gradients: list[Tensor] | None = None,
) -> Tensor:
    """The fields, (B, *size) float32 on the device, without waiting for it.

    Args:
        size: pixels along each axis.
        octaves: the lattices to add up.
        device: a CUDA device.
        gradients: for each octave (B, *points, D); None for those that belong to the octaves.

    Raises:
        ValueError: for a lattice of more points than the kernel can number.
    """
    out = torch.empty((len(octaves.count), *size), device=device)
    if out.numel() == 0:
        return out
    from covidssl.perlin import fused_kernels

    prepared = prepare(size, octaves, device, gradients)
    inputs = (out, prepared.laid, prepared.gradients.view(torch.int64), prepared.weights)
    tile = _tile(size)
    programs = len(out) * math.prod(
        -(-n // m) for n, m in zip(size, tile[-len(size) :], strict=True)
    )
    most = prepared.laid.shape[1]
    with _current(device):
        if len(size) == 2:
            fused_kernels.draw_flat[(programs,)](
                *inputs, most, *size, rows=tile[1], columns=tile[2], **_OPTIONS
            )
        else:
            fused_kernels.draw_deep[(programs,)](
                *inputs, most, *size, planes=tile[0], rows=tile[1], columns=tile[2], **_OPTIONS
            )
    return out


def prepare(
    size: tuple[int, ...],
    octaves: Octaves,
    device: torch.device,
    gradients: list[Tensor] | None = None,
) -> Prepared:
    """Lay out, hash and weigh all that the drawing kernel reads; arguments as in `draw`."""
    from covidssl.perlin import fused_kernels

    batch, most, axes = octaves.start.shape
    tile = _tile(size)
    laid, points, entries = _lay_out(size, octaves, tile)
    chosen = np.zeros((len(directions(axes)), 2 * (axes - 1)), np.float32)
    chosen[:, :axes] = directions(axes)
    # One transfer: each costs more than what it carries.
    packed = torch.from_numpy(np.concatenate([laid.ravel(), chosen.view(np.int64).ravel()]))
    if device.type == "cuda":
        packed = packed.pin_memory().to(device, non_blocking=True)
    if gradients is None:
        lattice = torch.empty((points, 2 * (axes - 1)), device=device)
    else:
        lattice = _packed(octaves, gradients, device)
    weights = torch.empty(entries, device=device)
    on_device, table = packed[: laid.size].view(laid.shape), packed[laid.size :]
    share = min(_SHARES, math.ceil(points / (batch * most * _HASHED)))
    with _current(device):
        fused_kernels.prepare[(batch, most, share)](
            on_device, table, lattice.view(torch.int64), weights, size[0], size[-2],
            int(gradients is None), axes=axes, planes=tile[0], rows=tile[1], block=_HASHED,
            **_OPTIONS,
        )  # fmt: skip
    return Prepared(on_device, lattice, weights)


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _lay_out(
    size: tuple[int, ...], octaves: Octaves, tile: tuple[int, int, int]
) -> tuple[NDArray[np.int64], int, int]:
    """What describes each octave, (B, O, COLUMNS), and how many gradients and weights there are."""
    from covidssl.perlin.fused_kernels import COLUMNS, PLACE_BITS

    batch, most, axes = octaves.start.shape
    if octaves.points.max() > _MOST_POINTS:
        raise ValueError(f"a lattice has at most {_MOST_POINTS} points along an axis here.")
    laid = np.zeros((batch, most, COLUMNS), np.int64)
    laid[..., 6:9] = 1
    for axis, column in enumerate(range(3 - axes, 3)):
        points = octaves.points[..., axis]
        start = np.rint(octaves.start[..., axis] * 2.0**PLACE_BITS).astype(np.int64)
        step = np.rint(octaves.step[..., axis] * 2.0**PLACE_BITS).astype(np.int64)
        # Every pixel lies below the last point, whichever way its place was rounded.
        over = start + (size[axis] - 1) * step - ((points - 1) << PLACE_BITS) + 1
        laid[..., column] = start - np.maximum(over, 0)
        laid[..., 3 + column], laid[..., 6 + column] = step, points
    used = np.arange(most) < octaves.count[:, None]
    lattices = laid[..., 6] * laid[..., 7] * laid[..., 8] * used
    if lattices.max() > _MOST_IN_ALL:
        raise ValueError(f"a lattice has at most {_MOST_IN_ALL} points here.")
    # An entry for each lattice point and two more for each tile; none for planes without depth.
    lines = 2 * tile[1] * (laid[..., 7] + 2 * math.ceil(size[-2] / tile[1])) * used
    planes = 2 * tile[0] * (laid[..., 6] + 2 * math.ceil(size[0] / tile[0])) * used * (axes == 3)
    laid[..., 9], laid[..., 10] = _firsts(lattices), _firsts(lines)
    laid[..., 11] = lines.sum() + _firsts(planes)
    laid[..., 12], laid[..., 13] = octaves.key, octaves.amplitude.view(np.int32)
    laid[..., 14] = octaves.count[:, None]
    return laid, int(lattices.sum()), int(lines.sum() + planes.sum())


def _tile(size: tuple[int, ...]) -> tuple[int, int, int]:
    """Planes, lines and pixels of a line of a tile."""
    planes, rows, columns = _FLAT_TILE if len(size) == 2 else _DEEP_TILE
    return planes, rows, min(columns, max(32, 1 << (size[-1] - 1).bit_length()))


def _firsts(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each share begins when they lie one after another."""
    return (np.cumsum(numbers) - numbers.ravel()).reshape(numbers.shape)


def _packed(octaves: Octaves, gradients: list[Tensor], device: torch.device) -> Tensor:
    """Given gradients as the kernel stores its own: only the points that a field uses."""
    axes = octaves.start.shape[2]
    parts = []
    for b, count in enumerate(octaves.count):
        for o in range(count):
            inside = tuple(slice(n) for n in octaves.points[b, o])
            parts.append(gradients[o][b][inside].reshape(-1, axes).to(device, torch.float32))
    return torch.nn.functional.pad(torch.cat(parts), (0, axes - 2))


def _current(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the device that is current."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
