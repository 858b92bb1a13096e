"""Ken Perlin's improved noise as the `noise` package computes it, a pixel at a time: the oracle.

It is slow, and draws from the one lattice of the package: a seed chooses a part of that lattice.
The package repeats itself every 256 points, and its `base` argument reads outside its table for
most values, so that a seed moves the place instead.
"""

from __future__ import annotations

import importlib.util
import itertools
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from covidssl.perlin.lattice import Octaves

_PERIOD = 256
_MEAN_SQUARE = {2: 1.25, 3: 2.0}
"""Mean squared length of the package's gradients; those of the other backends have length 1."""


@cache
def at_hand() -> bool:
    """Whether the `noise` package is installed."""
    return importlib.util.find_spec("noise") is not None


def draw(size: tuple[int, ...], octaves: Octaves) -> Tensor:
    """The fields, (B, *size) float32, from the package's own gradients.

    Raises:
        ImportError: without the `noise` package, which the extra `reference` installs.
    """
    out = np.zeros((len(octaves.count), *size), np.float32)
    axes = len(size)
    for b, count in enumerate(octaves.count):
        for o in range(count):
            places = [
                octaves.start[b, o, axis] + np.arange(size[axis]) * octaves.step[b, o, axis]
                for axis in range(axes)
            ]
            out[b] += (
                octaves.amplitude[b, o]
                / np.sqrt(_MEAN_SQUARE[axes])
                * _octave(
                    [
                        place + moved
                        for place, moved in zip(places, _move(octaves, b, o), strict=True)
                    ]
                )
            )
    return torch.from_numpy(out)


def gradients(octaves: Octaves) -> list[Tensor]:
    """The gradients that `draw` uses, as the other backends take them: (B, *points, D) an octave.

    Read off the package by differences: near a lattice point the noise is the gradient times the
    distance from it.
    """
    batch, most, axes = octaves.start.shape
    lattices = []
    for o in range(most):
        points = octaves.points[:, o].max(axis=0)
        lattice = np.zeros((batch, *points, axes), np.float32)
        for b in range(batch):
            moved = _move(octaves, b, o)
            for at in itertools.product(*(range(n) for n in points)):
                lattice[(b, *at)] = gradient_at([p + m for p, m in zip(at, moved, strict=True)])
        lattices.append(torch.from_numpy(lattice / np.sqrt(_MEAN_SQUARE[axes])))
    return lattices


def gradient_at(point: list[int]) -> list[float]:
    """The package's gradient at a lattice point (z,) y, x, whole numbers."""
    small = 2.0**-10
    found = []
    for axis in range(len(point)):
        place = [float(p % _PERIOD) for p in point]
        place[axis] += small
        found.append(float(round(_noise(place) / small)))
    return found


def _octave(places: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    shape = [len(place) for place in places]
    values = [_noise(list(place)) for place in itertools.product(*places)]
    return np.array(values, np.float32).reshape(shape)


def _noise(place: list[float]) -> float:
    import noise

    value = noise.pnoise2(*place[::-1]) if len(place) == 2 else noise.pnoise3(*place[::-1])
    return float(value)


def _move(octaves: Octaves, b: int, o: int) -> list[int]:
    """Whole lattice steps by which a key moves a field, fewer than the period."""
    key = int(octaves.key[b, o])
    # Small numbers: the package computes in float32, and a place far out has few digits left.
    return [(key >> (5 * axis)) & 31 for axis in range(octaves.start.shape[2])]
