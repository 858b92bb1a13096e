"""Augmentation of frames: drawn once, then applied in batches without randomness."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field

from covidssl.hounsfield import Window
from covidssl.intensity import follow, rank_curve

Range = tuple[float, float]


class AugmentRanges(BaseModel):
    """What may be drawn.

    Attributes:
        flip: chance of a left-right mirror.
        rotation_degrees: largest rotation to either side.
        zoom: range of magnification.
        shift: largest shift as a share of the frame's edge.
        zoom_z: range of magnification along the body; volumes only.
        shift_z: largest shift along the body as a share of the frame's depth; volumes only.
        window_low_hu: lower end of the window through which the picture is seen again.
        window_high_hu: its upper end. A windowed picture is first taken for one seen through
            the frame's own window.
        ranked: chance that each pixel becomes its rank within the picture: no window is left.
        blanked: chance that everything outside the lungs becomes black.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip: float = Field(0.5, ge=0, le=1)
    rotation_degrees: float = Field(8.0, ge=0, le=180)
    zoom: Range = (0.9, 1.15)
    shift: float = Field(0.05, ge=0, le=0.5)
    zoom_z: Range = (1.0, 1.0)
    shift_z: float = Field(0.0, ge=0, le=0.5)
    window_low_hu: Range = (-1030.0, -970.0)
    window_high_hu: Range = (340.0, 460.0)
    ranked: float = Field(0.0, ge=0, le=1)
    blanked: float = Field(0.0, ge=0, le=1)


class AugmentParams(NamedTuple):
    """One draw a picture.

    Attributes:
        theta: (B, 2, 3) for `affine_grid`; all slices of a volume are moved alike.
        window_hu: (B, 2) lower and upper end.
        along: (B, 2) scale and shift along the body, of volumes alone, in units of `affine_grid`.
        ranked: (B,) bool.
        blanked: (B,) bool.
    """

    theta: torch.Tensor
    window_hu: torch.Tensor
    along: torch.Tensor
    ranked: torch.Tensor
    blanked: torch.Tensor


def sample_augment(ranges: AugmentRanges, generator: torch.Generator, n: int) -> AugmentParams:
    """Draw `n` augmentations from a CPU generator; a draw does not depend on how many follow it."""
    moves_along = ranges.zoom_z != (1.0, 1.0) or ranges.shift_z > 0
    hides = ranges.ranked > 0 or ranges.blanked > 0
    # More columns only where they are asked for, so that slices get the draws they always got.
    columns = 11 if hides else 9 if moves_along else 7
    draw = torch.rand((n, columns), generator=generator)
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
    along = torch.tensor([[1.0, 0.0]]).repeat(n, 1)
    if moves_along:
        along[:, 0] = 1 / _between(draw[:, 7], ranges.zoom_z)
        along[:, 1] = (2 * draw[:, 8] - 1) * 2 * ranges.shift_z
    ranked, blanked = torch.zeros((2, n), dtype=torch.bool)
    if hides:
        ranked, blanked = draw[:, 9] < ranges.ranked, draw[:, 10] < ranges.blanked
    return AugmentParams(theta, torch.stack([low, high], dim=1), along, ranked, blanked)


def warp(pictures: torch.Tensor, params: AugmentParams) -> torch.Tensor:
    """Move slices (B, C, Y, X) or volumes (B, C, Z, Y, X) by the geometric part of `params`.

    The border is repeated. Volumes are moved slice by slice, then along the body: both together
    are the affine map, at a fraction of the cost of a three-dimensional one.
    """
    if pictures.ndim == 5:
        moved = warp(pictures.flatten(1, 2), params).reshape(pictures.shape)
        return _move_along(moved, params.along)
    theta = params.theta.to(pictures.device, pictures.dtype)
    grid = torch.nn.functional.affine_grid(theta, list(pictures.shape), align_corners=False)
    return torch.nn.functional.grid_sample(
        pictures, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def _move_along(volumes: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
    """Scale and shift (B, C, Z, Y, X) along z, between the two nearest slices."""
    if bool((along == torch.tensor([1.0, 0.0], device=along.device)).all()):
        return volumes
    depth = volumes.shape[2]
    scale, shift = along.to(volumes.device, volumes.dtype).unbind(1)
    slices = torch.arange(depth, device=volumes.device, dtype=volumes.dtype)
    centred = (2 * slices + 1) / depth - 1
    place = ((scale[:, None] * centred + shift[:, None] + 1) * depth - 1) / 2
    nearness = 1 - (place.clamp(0, depth - 1)[:, :, None] - slices).abs()
    weight = nearness.clamp_min(0)  # (B, Z of the result, Z)
    return torch.einsum("bwz,bczyx->bcwyx", weight, volumes)


def to_hu(unit: torch.Tensor, window_hu: Window) -> torch.Tensor:
    """(Nominal) HU of network units that came through `window_hu`."""
    low, high = window_hu
    return unit * (high - low) + low


def see_through(hu: torch.Tensor, params: AugmentParams) -> torch.Tensor:
    """Network units in [0, 1] of HU (B, 1, [Z,] Y, X) through the window drawn for each."""
    window = params.window_hu.to(hu.device, hu.dtype)
    low, high = (end.view(-1, *[1] * (hu.ndim - 1)) for end in window.unbind(1))
    return ((hu - low) / (high - low)).clamp(0.0, 1.0)


def without_shortcuts(
    unit: torch.Tensor, lungs: torch.Tensor, params: AugmentParams, *alike: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Pictures (B, 1, [Z,] Y, X) in [0, 1] without their window, or without all but the lungs.

    Args:
        unit: whose pixels are ranked.
        lungs: share of lung in each pixel; less than half is outside.
        params: which of the pictures are ranked, and which blanked.
        alike: further pictures, changed by the same curve and blanked alike.
    """
    pictures = (unit, *alike)
    pixel = (-1, *[1] * (unit.ndim - 1))
    if params.ranked.any():
        curve, which = rank_curve(unit), params.ranked.to(unit.device).view(pixel)
        pictures = tuple(torch.where(which, follow(one, curve), one) for one in pictures)
    if params.blanked.any():
        shown = (lungs >= 0.5) | ~params.blanked.to(unit.device).view(pixel)
        pictures = tuple(one * shown for one in pictures)
    return pictures


def _between(draw: torch.Tensor, ends: Range) -> torch.Tensor:
    return ends[0] + draw * (ends[1] - ends[0])
