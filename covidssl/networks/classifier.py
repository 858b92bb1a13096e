"""The classifier: an encoder whose every level is pooled, and one linear head."""

from __future__ import annotations

import torch
from torch import nn

from covidssl.networks.encoder import Encoder


class CovidClassifier(nn.Module):
    """(B, 1, [Z,] Y, X) in [0, 1] -> (B,) logits; above the operating point means COVID-19.

    Mean and maximum of **every** level are pooled, not of the last alone: a decoder with skip
    connections teaches the shallow levels too. The pooled features are centred and scaled by
    numbers fixed before training (`set_feature_scale`), which are saved with the weights.
    """

    feature_mean: torch.Tensor
    feature_scale: torch.Tensor

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        features = 2 * sum(encoder.channels)
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_scale", torch.ones(features))
        self.head = nn.Linear(features, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def pooled(self, unit: torch.Tensor) -> torch.Tensor:
        """Pooled features (B, F) before scaling, shallow levels first; mean, then maximum."""
        axes = tuple(range(2, unit.ndim))
        levels = self.encoder(unit)
        return torch.cat(
            [pool for level in levels for pool in (level.mean(axes), level.amax(axes))], dim=1
        )

    def set_feature_scale(self, mean: torch.Tensor, scale: torch.Tensor) -> None:
        """Fix the centre and scale (F,) of the pooled features; a scale of 0 counts as 1."""
        self.feature_mean.copy_(mean)
        self.feature_scale.copy_(torch.where(scale > 1e-6, scale, torch.ones_like(scale)))

    def set_head(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Start the head from a fitted linear probe: weight (F,), bias ()."""
        with torch.no_grad():
            self.head.weight.copy_(weight[None])
            self.head.bias.copy_(bias.reshape(1))

    def forward(self, unit: torch.Tensor) -> torch.Tensor:
        features = (self.pooled(unit) - self.feature_mean) / self.feature_scale
        return self.head(features).squeeze(1)
