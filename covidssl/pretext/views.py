"""How every pretext but our own first sees a clean slice: moved, windowed, perhaps blurred."""

from __future__ import annotations

import math

import torch
from pydantic import BaseModel, ConfigDict, Field

from covidssl.augment import (
    AugmentRanges,
    Range,
    sample_augment,
    see_through,
    to_hu,
    warp,
    without_shortcuts,
)
from covidssl.frames import unit_from_frames
from covidssl.pretext.clean import CleanSlices
from covidssl.pretext.pretexts import Setting
from covidssl.randomness import torch_generator
from covidssl.training import Share

_BLUR_REFERENCE_PIXELS = 224


class Blur(BaseModel):
    """Gaussian blur of a view, within its slices.

    Attributes:
        chance: that a view is blurred.
        sigma: range of the width, in pixels of a frame of 224; it is scaled with the frame.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chance: float = Field(0.5, ge=0, le=1)
    sigma: Range = (0.1, 2.0)


def seen(
    slices: CleanSlices, ranges: AugmentRanges, setting: Setting, key: tuple[int, ...], share: Share
) -> torch.Tensor:
    """Clean pictures moved and seen through another window: (B, 1, [Z,] Y, X) in [0, 1].

    Args:
        slices: clean slices or volumes.
        ranges: what may be drawn.
        setting: window and seed of the run.
        key: stream of the draws, and what else tells them from others of the same step.
        share: which pictures of which step.
    """
    generator = torch_generator(setting.seed, *key, share.step)
    params = share.rows(sample_augment(ranges, generator, share.drawn))
    unit = unit_from_frames(slices.frames)
    if not (ranges.ranked or ranges.blanked):
        return see_through(to_hu(warp(unit, params), setting.window_hu), params)
    both = torch.cat([unit, slices.lungs.to(torch.float32)], dim=1)
    moved, lungs = warp(both, params).split(1, dim=1)
    return without_shortcuts(see_through(to_hu(moved, setting.window_hu), params), lungs, params)[0]


def blurred(
    unit: torch.Tensor, blur: Blur, seed: int, key: tuple[int, ...], share: Share
) -> torch.Tensor:
    """Blur some of the pictures (B, 1, [Z,] Y, X), each by a width of its own."""
    generator = torch_generator(seed, *key, share.step)
    draw = torch.rand((share.drawn, 2), generator=generator)[share.first :]
    edge = unit.shape[-1]
    low, high = (sigma * edge / _BLUR_REFERENCE_PIXELS for sigma in blur.sigma)
    sigma = low + draw[:, 1] * (high - low)
    smooth = _smoothed(unit, sigma.to(unit.device), math.ceil(3 * high))
    is_blurred = (draw[:, 0] < blur.chance).to(unit.device)
    return torch.where(is_blurred.view(-1, *[1] * (unit.ndim - 1)), smooth, unit)


def _smoothed(unit: torch.Tensor, sigma: torch.Tensor, reach: int) -> torch.Tensor:
    """Gaussian of width sigma (B,) along the last two axes; the border is repeated."""
    pictures = len(unit)
    reach = max(1, min(reach, unit.shape[-1] - 1, unit.shape[-2] - 1))
    offsets = torch.arange(-reach, reach + 1, device=unit.device, dtype=unit.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma[:, None].clamp_min(1e-3)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    # Pictures as channels, so that each gets its own kernel; slices of a volume as the batch.
    planes = unit.reshape(pictures, -1, *unit.shape[-2:]).transpose(0, 1)
    planes = torch.nn.functional.pad(planes, (reach,) * 4, mode="replicate")
    planes = torch.nn.functional.conv2d(planes, kernel[:, None, None, :], groups=pictures)
    planes = torch.nn.functional.conv2d(planes, kernel[:, None, :, None], groups=pictures)
    return planes.transpose(0, 1).reshape(unit.shape)
