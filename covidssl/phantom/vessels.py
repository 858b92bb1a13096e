"""Branching vessels that taper from the root of a lung towards its surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covidssl.phantom.canvas import Canvas

Point = NDArray[np.float64]

BRANCHES = 10
GENERATIONS = 5
THINNEST_MM = 0.6


def paint_vessels(
    canvas: Canvas, hila: tuple[Point, ...], blood_hu: float, rng: np.random.Generator
) -> None:
    """Paint the trees of all lungs, each from its root at (x, y, z) mm outwards."""
    reach = canvas.y.size * canvas.spacing_mm[1] / 11
    for root in hila:
        outward = np.array([np.sign(root[0]), 0.0, 0.0])
        for direction in _fan(outward, rng):
            _grow(canvas, (root, direction), (3.6, reach), blood_hu, (rng, GENERATIONS))


def _fan(outward: Point, rng: np.random.Generator) -> list[Point]:
    """Directions into all of a lung: outwards, up and down, forwards and backwards."""
    turns = 2 * np.pi * (np.arange(BRANCHES) + rng.uniform(0, 1, BRANCHES)) / BRANCHES
    lean = rng.uniform(0.3, 1.0, BRANCHES)
    side = np.stack([0 * turns, np.cos(turns), np.sin(turns) * 0.9], axis=1)
    return [_unit(outward * a + b * (1.3 - a)) for a, b in zip(lean, side, strict=True)]


def _grow(
    canvas: Canvas,
    ray: tuple[Point, Point],
    size: tuple[float, float],
    hu: float,
    state: tuple[np.random.Generator, int],
) -> None:
    """Paint one vessel and what branches off its end."""
    (start, direction), (radius, length), (rng, generations) = ray, size, state
    end = start + direction * length * rng.uniform(0.75, 1.25)
    canvas.paint_tube(start, end, radius, hu - 40 * (GENERATIONS - generations))
    if generations == 1:
        return
    for share in (0.75, 0.58):
        turned = _unit(direction + rng.normal(0, 0.5, 3))
        thinner = max(radius * share, THINNEST_MM)
        _grow(canvas, (end, turned), (thinner, length * 0.85), hu, (rng, generations - 1))


def _unit(vector: Point) -> Point:
    return vector / np.linalg.norm(vector)
