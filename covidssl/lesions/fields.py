"""The two Perlin fields of a draw: one for the outline of its lesions, a finer one within."""

from __future__ import annotations

import torch
from torch import Tensor

from covidssl.lesions.scene import Scene
from covidssl.perlin import Backend, Field, cells_across, perlin

_TEXTURE_OCTAVES = 3
_SECOND_FIELD = 0x5DEECE66D


def outline_field(scene: Scene, backend: Backend) -> Tensor:
    """The field that distorts outlines, over the scene's box; mean 0, standard deviation 1."""
    draws = scene.draws
    return _field(draws.seed, draws.octaves, draws.feature_mm, scene, backend)


def texture_field(scene: Scene, backend: Backend) -> Tensor:
    """The finer field inside lesions, over the scene's box; mean 0, standard deviation 1."""
    draws = scene.draws
    octaves = torch.full_like(draws.octaves, _TEXTURE_OCTAVES)
    return _field(draws.seed ^ _SECOND_FIELD, octaves, draws.texture_mm, scene, backend)


def _field(
    seed: Tensor, octaves: Tensor, cell_mm: Tensor, scene: Scene, backend: Backend
) -> Tensor:
    cells = cells_across(scene.size, scene.mm, cell_mm)
    # A cell finer than a voxel cannot be seen, and would cost any amount of memory.
    cells = torch.minimum(cells, torch.tensor(scene.size, dtype=cells.dtype))
    field = Field(seed, cells, scene.draws.persistence, octaves, scene.draws.lacunarity)
    drawn = perlin(scene.size, field, device=scene.inside.device, backend=backend)
    return drawn[:, 0][scene.box]
