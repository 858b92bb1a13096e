"""Augmentation of frames: drawn once, then applied in batches without randomness."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field

from covidssl.hounsfield import Window

Range = tuple[float, float]


class AugmentRanges(BaseModel):
    """What may be drawn.

    Attributes:
        flip: chance of a left-right mirror.
        rotation_degrees: largest rotation to either side.
        zoom: range of magnification.
        shift: largest shift as a share of the frame's edge.
        window_low_hu: lower end of the window through which the picture is seen again.
        window_high_hu: its upper end. A windowed picture is first taken for one seen through
            the frame's own window.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip: float = Field(0.5, ge=0, le=1)
    rotation_degrees: float = Field(8.0, ge=0, le=180)
    zoom: Range = (0.9, 1.15)
    shift: float = Field(0.05, ge=0, le=0.5)
    window_low_hu: Range = (-1030.0, -970.0)
    window_high_hu: Range = (340.0, 460.0)


class AugmentParams(NamedTuple):
    """One draw a picture: `theta` (B, 2, 3) for `affine_grid`, `window_hu` (B, 2)."""

    theta: torch.Tensor
    window_hu: torch.Tensor


def sample_augment(ranges: AugmentRanges, generator: torch.Generator, n: int) -> AugmentParams:
    """Draw `n` augmentations from a CPU generator."""
    draw = torch.rand((n, 7), generator=generator)
    mirror = torch.where(draw[:, 0] < ranges.flip, -1.0, 1.0)
    angle = torch.deg2rad((2 * draw[:, 1] - 1) * ranges.rotation_degrees)
    zoom = 1 / _between(draw[:, 2], ranges.zoom)
    shift = (2 * draw[:, 3:5] - 1) * 2 * ranges.shift
    theta = torch.stack(
        [
            torch.stack([mirror * zoom * angle.cos(), -zoom * angle.sin(), shift[:, 0]], dim=1),
            torch.stack([mirror * zoom * angle.sin(), zoom * angle.cos(), shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    low = _between(draw[:, 5], ranges.window_low_hu)
    high = _between(draw[:, 6], ranges.window_high_hu)
    return AugmentParams(theta, torch.stack([low, high], dim=1))


def warp(pictures: torch.Tensor, params: AugmentParams) -> torch.Tensor:
    """Move pictures (B, C, H, W) by the geometric part of `params`; the border is repeated."""
    theta = params.theta.to(pictures.device, pictures.dtype)
    grid = torch.nn.functional.affine_grid(theta, list(pictures.shape), align_corners=False)
    return torch.nn.functional.grid_sample(
        pictures, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def to_hu(unit: torch.Tensor, window_hu: Window) -> torch.Tensor:
    """(Nominal) HU of network units that came through `window_hu`."""
    low, high = window_hu
    return unit * (high - low) + low


def see_through(hu: torch.Tensor, params: AugmentParams) -> torch.Tensor:
    """Network units in [0, 1] of HU (B, 1, H, W) through the window drawn for each picture."""
    window = params.window_hu.to(hu.device, hu.dtype)
    low, high = window[:, 0, None, None, None], window[:, 1, None, None, None]
    return ((hu - low) / (high - low)).clamp(0.0, 1.0)


def _between(draw: torch.Tensor, ends: Range) -> torch.Tensor:
    return ends[0] + draw * (ends[1] - ends[0])
