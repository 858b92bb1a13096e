"""Perlin noise in row form on a CPU, compiled by numba: once a lattice row, then once a pixel.

Along x the noise of one lattice row is two numbers a pixel, `A` (from the x components of the
gradients) and `B` (from their y components). A pixel between lattice rows 0 and 1 is then
`w0 A0 + d0 B0 + w1 A1 + d1 B1`, w and d being the fade weights of its place in y and these times
the distance: four multiply-adds a pixel and octave over contiguous memory, whatever the scale and
offset of the lattice. In three dimensions the rows of two lattice planes are folded into such rows
once a plane of pixels. Threads need no lock of the interpreter's and
write to no common memory.

numba is imported when the first field is drawn: it takes a second, and longer once, to compile.
"""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from covidssl.perlin.lattice import Octaves, directions

_PIXELS_A_THREAD = 1 << 19
"""Below this, starting a thread costs more than it saves."""


@cache
def at_hand() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def draw(size: tuple[int, ...], octaves: Octaves, gradients: list[Tensor] | None = None) -> Tensor:
    """The fields, (B, *size) float32 on the CPU, with as many threads as torch may use.

    Args:
        size: pixels along each axis.
        octaves: the lattices to add up.
        gradients: for each octave (B, *points, D); None for those that belong to the octaves.
    """
    # numpy's memory comes in huge pages where the system has them, torch's does not.
    out = np.empty((len(octaves.count), *size), np.float32)
    deep = out if len(size) == 3 else out[:, None]
    pieces = _pieces(len(deep), size)
    if gradients is not None:
        _draw_given(deep, size, octaves, gradients)
    elif len(pieces) == 1:
        _draw_piece(deep, octaves, *pieces[0])
    else:
        with ThreadPoolExecutor(len(pieces)) as pool:
            waiting = [pool.submit(_draw_piece, deep, octaves, *piece) for piece in pieces]
            for done in waiting:
                done.result()
    return torch.from_numpy(out)


def _pieces(batch: int, size: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Shares of the work: fields from and to, and lines (or planes) from and to."""
    wanted = min(torch.get_num_threads(), max(1, batch * int(np.prod(size)) // _PIXELS_A_THREAD))
    if batch != 1:
        edges = np.linspace(0, batch, min(wanted, max(batch, 1)) + 1).astype(int).tolist()
        return [(a, b, 0, size[0]) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    edges = np.linspace(0, size[0], min(wanted, size[0]) + 1).astype(int).tolist()
    return [(0, 1, a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _draw_piece(
    out: NDArray[np.float32], octaves: Octaves, begin: int, end: int, lo: int, hi: int
) -> None:
    from covidssl.perlin.row_kernels import draw_fields

    o = octaves
    table = directions(o.start.shape[2])
    draw_fields(
        out, begin, end, lo, hi, o.start, o.step, o.points, o.amplitude, o.count, o.key, table
    )


def _draw_given(
    out: NDArray[np.float32], size: tuple[int, ...], octaves: Octaves, gradients: list[Tensor]
) -> None:
    from covidssl.perlin.row_kernels import draw_field

    axes = len(size)
    points = np.array([lattice.shape[1:-1] for lattice in gradients])
    for b, n in enumerate(octaves.count):
        flat = [lattice[b].reshape(-1, axes).T for lattice in gradients[:n]]
        values = torch.cat(flat, dim=1).to(torch.float32).contiguous().numpy()
        draw_field(
            out[b], 0, size[0], octaves.start[b, :n], octaves.step[b, :n], points[:n],
            octaves.amplitude[b, :n], octaves.key[b, :n], directions(axes), values,
        )  # fmt: skip
