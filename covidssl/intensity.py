"""Curves of intensity: each picture has its own, and pixels follow it."""

from __future__ import annotations

import torch

STEPS = 1024
"""Of a curve from 0 to 1; it is straight in between."""

RANKED = 4096
"""Intensities that are told apart where pixels are ranked."""


def bend(unit: torch.Tensor, curve: torch.Tensor) -> torch.Tensor:
    """New intensities of pictures (B, ...) in [0, 1] by a curve (B, STEPS + 1) of each."""
    flat = unit.flatten(1) * STEPS
    curve = curve.to(unit.device)
    below = flat.long().clamp(0, STEPS - 1)
    low, high = curve.gather(1, below), curve.gather(1, below + 1)
    return torch.lerp(low, high, flat - below).view(unit.shape)


def rank_curve(unit: torch.Tensor) -> torch.Tensor:
    """The curve (B, RANKED) that makes each pixel its rank within its picture, in [0, 1].

    It leaps from one grey value of a picture to the next: `follow` it. Pixels of one intensity
    share their middle rank, so that the window that a picture was seen through does not matter, as
    long as it clipped the same pixels. It is the curve of `covidssl.audit.views.equalised`.
    """
    level = _level(unit)
    counts = torch.zeros(len(unit), RANKED, device=unit.device)
    counts.scatter_add_(1, level, torch.ones_like(level, dtype=counts.dtype))
    return (counts.cumsum(1) - counts / 2) / level.shape[1]


def follow(unit: torch.Tensor, curve: torch.Tensor) -> torch.Tensor:
    """Intensities of pictures (B, ...) in [0, 1] by the nearest point of a curve (B, RANKED)."""
    return curve.to(unit.device).gather(1, _level(unit)).view(unit.shape)


def _level(unit: torch.Tensor) -> torch.Tensor:
    return (unit.flatten(1) * (RANKED - 1)).round().long()
