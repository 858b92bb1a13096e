"""From a clean slice, its lungs and a draw to the slice with pseudo-lesions; nothing random here.

Ground glass is air replaced by fluid: density is added in proportion to the air in the voxel, so
that vessels and walls stay to be seen. Consolidation leaves no air: the voxel is blended towards
one density, and what was in it is hidden.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from covidssl.hounsfield import AIR_HU
from covidssl.lesions.params import LesionParams
from covidssl.lesions.perlin import Field, perlin

AERATED_AIR = 0.85
"""Share of air in normal lung; `opacity_hu` is what a voxel with that share gains."""

RIM_MM = 25.0
"""Depth under the pleura that counts as periphery."""

_TEXTURE_OCTAVES = 3
_FINE = 4096
_SECOND_FIELD = 0x5DEECE66D
_ABSENT = -1.0e6


class Rendered(NamedTuple):
    """What the network sees and where it was changed; both (B, 1, H, W) float32.

    Attributes:
        corrupted_hu: the slices with pseudo-lesions, HU.
        lesion_map: share of the lesion in each voxel, 0 to 1, exactly 0 outside the lungs.
    """

    corrupted_hu: Tensor
    lesion_map: Tensor


def render(clean_hu: Tensor, lungs: Tensor, params: LesionParams, pixel_mm: Tensor) -> Rendered:
    """Lay the pseudo-lesions of `params` into the lungs of `clean_hu`, on its device.

    Voxels outside the lungs, and slices whose draw is clean or whose lungs are empty, keep their
    HU exactly; ground glass never lowers a voxel. The inputs are not changed. A slice comes out
    the same to the last bit whatever batch it is in.

    Args:
        clean_hu: (B, 1, H, W) float32 HU.
        lungs: (B, 1, H, W) bool, or numbers of which more than 0.5 is lung.
        params: B draws.
        pixel_mm: (B, 2) height and width of a pixel in mm.

    Raises:
        ValueError: when the shapes do not fit each other.
    """
    _check(clean_hu, lungs, params, pixel_mm)
    params, pixel_mm = params.to(clean_hu.device), pixel_mm.to(clean_hu.device).float()
    inside = lungs[:, 0] > 0.5
    level = _level_mm(inside, params, pixel_mm)
    alpha = _fade(level, params.edge_mm) * inside
    texture = _field(inside, params, pixel_mm, params.texture_mm, fine=True)
    after = _ground_glass(clean_hu[:, 0], alpha, texture, params)
    core = _fade(level - _column(params.halo_mm), params.edge_mm) * inside
    core = core * _column(params.dense)
    target = _column(params.dense_hu) + 40.0 * texture.clamp(-2.5, 2.5)
    after = after + core * (target - after)
    corrupted = torch.where(alpha > 0, after, clean_hu[:, 0])
    return Rendered(corrupted[:, None], alpha[:, None])


def _check(clean_hu: Tensor, lungs: Tensor, params: LesionParams, pixel_mm: Tensor) -> None:
    if clean_hu.ndim != 4 or clean_hu.shape[1] != 1 or lungs.shape != clean_hu.shape:
        raise ValueError(
            "render needs slices and lungs of one shape (B, 1, H, W), got "
            f"{tuple(clean_hu.shape)} and {tuple(lungs.shape)}."
        )
    batch = clean_hu.shape[0]
    if len(params.seed) != batch or pixel_mm.shape != (batch, 2):
        raise ValueError(
            f"render needs {batch} draws and pixel sizes ({batch}, 2) for {batch} slices, got "
            f"{len(params.seed)} draws and pixel sizes {tuple(pixel_mm.shape)}."
        )


def _ground_glass(hu: Tensor, alpha: Tensor, texture: Tensor, params: LesionParams) -> Tensor:
    """HU after adding density where there is air, (B, H, W)."""
    air = (hu / AIR_HU).clamp(0.0, 1.0)
    strength = (1 + _column(params.texture_contrast) * texture).clamp(0.2, 2.0)
    added = _column(params.opacity_hu) * strength * (air / AERATED_AIR)
    # No more than the air that there is: water is 0 HU, and fluid makes nothing denser.
    return hu + alpha * torch.minimum(added, -AIR_HU * air)


def _level_mm(inside: Tensor, params: LesionParams, pixel_mm: Tensor) -> Tensor:
    """How far (mm) each voxel lies inside the distorted outline of its nearest focus, (B, H, W)."""
    rows, columns = _centres(inside, params, pixel_mm)
    distortion = _field(inside, params, pixel_mm, params.feature_mm, fine=False)
    # In proportion to the cell, not the radius: the steepness of the edge then stays bounded.
    distortion = distortion * _column(params.outline_roughness * params.feature_mm)
    y = torch.arange(inside.shape[1], device=inside.device) * pixel_mm[:, :1]
    x = torch.arange(inside.shape[2], device=inside.device) * pixel_mm[:, 1:]
    turn = torch.deg2rad(params.angle_deg.double())
    sine, cosine = turn.sin().float(), turn.cos().float()
    # The squared distance is a quadratic form: what depends on one axis alone is small.
    long, short = 1 / params.elongation, params.elongation
    of_x = cosine * cosine * long + sine * sine * short
    of_y = sine * sine * long + cosine * cosine * short
    of_both = 2 * sine * cosine * (long - short)
    focus = torch.arange(params.place.shape[1], device=inside.device)
    radius = torch.where(focus < params.foci[:, None], params.radius_mm, _ABSENT)
    level = torch.full(inside.shape, _ABSENT, device=inside.device)
    for k in range(params.place.shape[1]):
        down = y - rows[:, k, None] * pixel_mm[:, :1]
        right = x - columns[:, k, None] * pixel_mm[:, 1:]
        squared = (down * of_both[:, k, None])[:, :, None] * right[:, None, :]
        squared += (down * down * of_y[:, k, None])[:, :, None]
        squared += (right * right * of_x[:, k, None])[:, None, :]
        distance = squared.clamp_(min=0).sqrt_()
        level = torch.maximum(level, _column(radius[:, k]) - distance)
    return level + distortion


def _centres(inside: Tensor, params: LesionParams, pixel_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of the lung pixel at each focus's quantile, (B, K) float32 each."""
    # Whole numbers, so that the sums are the same to the last bit everywhere.
    preference = (_rim(inside, pixel_mm) * _column(params.periphery)) + (
        1 - _column(params.periphery)
    )
    weight = (preference * _FINE).long().clamp(min=1) * inside
    reached = weight.flatten(1).cumsum(1)
    wanted = (params.place.double() * reached[:, -1:]).long()
    pixel = torch.searchsorted(reached, wanted, right=True).clamp(max=reached.shape[1] - 1)
    return (pixel // inside.shape[2]).float(), (pixel % inside.shape[2]).float()


def _rim(inside: Tensor, pixel_mm: Tensor) -> Tensor:
    """Nearness to the outline of the chest's inside, (B, H, W), 0 far from it, about 1 at it.

    Each row is filled between its outermost lung pixels: the mediastinum's border is no pleura
    that lesions of COVID-19 prefer.
    """
    seen = inside.cumsum(2)
    filled = ((seen > 0) & (seen - inside.long() < seen[:, :, -1:])).long()
    height, width = inside.shape[1:]
    sums = torch.nn.functional.pad(filled.cumsum(1).cumsum(2), (1, 0, 1, 0))
    top, bottom = _window(height, pixel_mm[:, 0])
    left, right = _window(width, pixel_mm[:, 1])
    rows = sums.gather(1, bottom[:, :, None].expand(-1, -1, width + 1)) - sums.gather(
        1, top[:, :, None].expand(-1, -1, width + 1)
    )
    boxes = rows.gather(2, right[:, None, :].expand(-1, height, -1)) - rows.gather(
        2, left[:, None, :].expand(-1, height, -1)
    )
    area = (bottom - top)[:, :, None] * (right - left)[:, None, :]
    outside = 1 - boxes.float() / area.float()
    return (2 * outside).clamp(0.0, 1.0)


def _window(pixels: int, pixel_mm: Tensor) -> tuple[Tensor, Tensor]:
    """First and last + 1 pixel of the window about each pixel, (B, pixels) int64 each."""
    half = (RIM_MM / pixel_mm).long()[:, None]
    centre = torch.arange(pixels, device=pixel_mm.device)
    return (centre - half).clamp(min=0), (centre + half + 1).clamp(max=pixels)


def _field(
    inside: Tensor, params: LesionParams, pixel_mm: Tensor, cell_mm: Tensor, *, fine: bool
) -> Tensor:
    """The outline's or the fine Perlin field, (B, H, W), mean 0, standard deviation 1."""
    size = (inside.shape[1], inside.shape[2])
    extent = pixel_mm.double() * torch.tensor(size, device=pixel_mm.device)
    cells = extent / cell_mm.double()[:, None]
    octaves = torch.full_like(params.octaves, _TEXTURE_OCTAVES) if fine else params.octaves
    seed = params.seed ^ _SECOND_FIELD if fine else params.seed
    return perlin(size, Field(seed, cells, params.persistence, octaves))[:, 0]


def _fade(level: Tensor, edge_mm: Tensor) -> Tensor:
    """Smooth step from 0 to 1 over the edge, half-way where the level is 0."""
    t = (level / _column(edge_mm) + 0.5).clamp(0.0, 1.0)
    return t * t * (3 - 2 * t)


def _column(values: Tensor) -> Tensor:
    return values[:, None, None]
