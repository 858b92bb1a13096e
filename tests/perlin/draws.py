"""Fields and lattices for the tests of the Perlin backends."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from covidssl.perlin import Field, product, rows
from covidssl.perlin.lattice import Octaves

CPU = torch.device("cpu")


def drawn(name: str, size: tuple[int, ...], octaves: Octaves, given: list[Tensor] | None) -> Tensor:
    """The fields by a backend that takes given gradients."""
    if name == "rows":
        return rows.draw(size, octaves, given)
    return product.draw(size, octaves, CPU, given)


def fields(batch: int, axes: int, seed: int = 0, cells: tuple[float, float] = (1.5, 7.0)) -> Field:
    """Fields that differ in everything, one to five octaves."""
    generator = torch.Generator().manual_seed(seed)
    low, high = cells
    return Field(
        seed=torch.randint(0, 2**53, (batch,), generator=generator),
        cells=low + (high - low) * torch.rand((batch, axes), generator=generator),
        persistence=0.3 + 0.4 * torch.rand(batch, generator=generator),
        octaves=torch.randint(1, 6, (batch,), generator=generator),
        lacunarity=1.6 + torch.rand(batch, generator=generator),
    )


def alike(batch: int, axes: int, cells: float, octaves: int) -> Field:
    """Fields that differ in their seed alone."""
    return Field(
        seed=torch.arange(batch) * 1_000_003 + (1 << 40),
        cells=torch.full((batch, axes), cells),
        persistence=torch.full((batch,), 0.5),
        octaves=torch.full((batch,), octaves),
        lacunarity=torch.full((batch,), 2.0),
    )


def one_lattice(start: list[float], step: list[float], points: int) -> Octaves:
    """One octave of one field, amplitude 1, over a lattice of `points` along each axis."""
    return Octaves(
        start=np.array([[start]]),
        step=np.array([[step]]),
        points=np.full((1, 1, len(start)), points),
        amplitude=np.ones((1, 1), np.float32),
        count=np.ones(1, np.int64),
        key=np.array([[12345]], np.uint32),
    )
