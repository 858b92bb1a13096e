"""Our own fields as the benchmark draws them: whole cost, gradients included."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import torch

from benchmarks.contenders import Work
from benchmarks.rows import Device
from covidssl.perlin import Backend, Field, backend_for, perlin
from covidssl.randomness import torch_generator

_SPREAD = 0.3
_DIFFERENT = 4


def backends(device: Device) -> list[Backend]:
    """The backends that can run here, the one that `auto` takes first, the plain product last."""
    fastest = backend_for(torch.device(device))
    return [fastest] if fastest == "product" else [fastest, "product"]


def draw(
    work: Work, batch: int, drawn: bool, backend: Backend, device: Device = "cpu"
) -> Callable[[], torch.Tensor]:
    """A call that draws a batch of fields, (batch, 1, *size); the next call draws others.

    Args:
        work: size, cells and octaves.
        batch: fields a call.
        drawn: whether every field has a scale of its own along every axis, drawn within 30 %
            of `work.cells`; else all share one lattice spacing. Offsets are each field's own.
        backend: of `covidssl.perlin`.
        device: where the fields are made.
    """
    fields = cycle([_field(work, batch, drawn, number) for number in range(_DIFFERENT)])
    return lambda: perlin(work.size, next(fields), device=device, backend=backend)


def _field(work: Work, batch: int, drawn: bool, number: int) -> Field:
    generator = torch_generator(len(work.size), work.cells, batch, int(drawn), number)
    cells = torch.full((batch, len(work.size)), float(work.cells))
    if drawn:
        cells *= 1 + _SPREAD * (2 * torch.rand(cells.shape, generator=generator) - 1)
    return Field(
        seed=torch.randint(2**53, (batch,), generator=generator),
        cells=cells,
        persistence=torch.full((batch,), 0.5),
        octaves=torch.full((batch,), work.octaves),
        lacunarity=torch.full((batch,), 2.0),
    )
