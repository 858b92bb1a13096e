"""Chests made of ellipses, to draw lesions into."""

from __future__ import annotations

import torch
from torch import Tensor

from covidssl.lesions import LesionParams, LesionRanges, sample
from covidssl.randomness import torch_generator

PLAIN = LesionRanges(
    clean_share=0, coverage=(1, 1), outline_roughness=(0, 0), elongation=(1, 1), depth=(1, 1),
    periphery=(0, 0), dorsal=(0, 0), lower=(0, 0), swallow_mm=(0, 0), texture_contrast=(0, 0),
    haze_mm=(0, 0),
)  # fmt: skip
"""Round foci anywhere in the lungs, filled evenly."""


def chest(batch: int, size: int = 96) -> tuple[Tensor, Tensor, Tensor]:
    """Slices with two elliptic lungs, vessels in them, a little noise; (hu, lungs, pixel_mm)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    lungs = ((x.abs() - 0.45) / 0.35) ** 2 + (y / 0.7) ** 2 < 1
    hu = torch.where(x**2 + y**2 < 0.95, 40.0, -1000.0)
    hu = torch.where(lungs, -860.0, hu).repeat(batch, 1, 1, 1)
    hu[:, :, ::12] += torch.where(lungs[::12], 800.0, 0.0)
    hu = hu + 15 * torch.randn(hu.shape, generator=torch_generator(99))
    return hu, lungs.repeat(batch, 1, 1, 1), torch.full((batch, 2), 320 / size)


def chest_volumes(batch: int, depth: int = 24, size: int = 48) -> tuple[Tensor, Tensor, Tensor]:
    """The same in three dimensions, slices twice as thick as their pixels are wide."""
    hu, lungs, pixel_mm = chest(batch, size)
    z = torch.linspace(-1, 1, depth)[None, None, :, None, None]
    solid = lungs[:, :, None] & (z.abs() < 0.85)
    volumes = torch.where(solid, hu[:, :, None], torch.full_like(hu, 40.0)[:, :, None])
    thick = torch.cat([2 * pixel_mm[:, :1], pixel_mm], dim=1)
    return volumes, solid, thick


def grown(lungs: Tensor, mm: float, pixel_mm: float) -> Tensor:
    """Lungs and what lies within `mm` of them, (B, 1, H, W) bool, by brute force."""
    reach = int(mm / pixel_mm) + 1
    wide = torch.nn.functional.pad(lungs, (reach,) * 4)
    out = torch.zeros_like(lungs)
    height, width = lungs.shape[-2:]
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if (dy * dy + dx * dx) ** 0.5 * pixel_mm <= mm:
                top, left = reach + dy, reach + dx
                out |= wide[..., top : top + height, left : left + width]
    return out


def draw(ranges: LesionRanges, batch: int, seed: int = 0) -> LesionParams:
    """Draws for a batch."""
    return sample(ranges, torch_generator(seed), batch)


def only(kind: str, ranges: LesionRanges = PLAIN, **changes: object) -> LesionRanges:
    """Ranges with foci of one kind alone, and other changes."""
    return LesionRanges.model_validate({**ranges.model_dump(), "kinds": {kind: 1}, **changes})
