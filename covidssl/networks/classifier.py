"""The classifier: an encoder whose every level is pooled, and a head that is linear in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import torch
from torch import nn

from covidssl.networks.encoder import Encoder
from covidssl.networks.heads import HeadPlan, SliceScores, build_attention, weights_in_scans


def pooled_levels(levels: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Mean, then maximum of each feature map (B, C, [Z,] Y, X): (B, 2 C) of each level."""
    pooled = []
    for level in levels:
        axes = tuple(range(2, level.ndim))
        pooled.append(torch.cat((level.mean(axes), level.amax(axes)), dim=1))
    return pooled


class CovidClassifier(nn.Module):
    """(B, 1, [Z,] Y, X) in [0, 1] -> (B,) logits; above the operating point means COVID-19.

    With a mask, scans in place of frames: (B, K, 1, Y, X) and (B, K) bool -> (B,) logits.

    Mean and maximum of **every** level are pooled, not of the last alone: a decoder with skip
    connections teaches the shallow levels too. The pooled features are centred and scaled by
    numbers fixed before training (`set_feature_scale`), which are saved with the weights.

    A scan's features are the mean of its slices', weighed by attention. Since the head is linear,
    its logit is then the mean of its slices' logits with the same weights: every slice has a
    logit of its own, with every head.
    """

    feature_mean: torch.Tensor
    feature_scale: torch.Tensor

    def __init__(self, encoder: Encoder, head: HeadPlan | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.frozen_levels = 0
        features = 2 * sum(encoder.channels)
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_scale", torch.ones(features))
        self.head = nn.Linear(features, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.attention = build_attention(head or HeadPlan(), features)

    def pooled(self, unit: torch.Tensor) -> torch.Tensor:
        """Pooled features (B, F) before scaling, shallow levels first; mean, then maximum."""
        return self.pooled_of(self.encoder(unit))

    def pooled_of(self, levels: Iterable[torch.Tensor]) -> torch.Tensor:
        """The same from the levels of the encoder."""
        return torch.cat(pooled_levels(levels), dim=1)

    def set_feature_scale(self, mean: torch.Tensor, scale: torch.Tensor) -> None:
        """Fix the centre and scale (F,) of the pooled features; a scale of 0 counts as 1."""
        self.feature_mean.copy_(mean)
        self.feature_scale.copy_(torch.where(scale > 1e-6, scale, torch.ones_like(scale)))

    def set_head(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Start the head from a fitted linear probe: weight (F,), bias ()."""
        with torch.no_grad():
            self.head.weight.copy_(weight[None])
            self.head.bias.copy_(bias.reshape(1))

    def freeze(self, levels: int) -> None:
        """Let the shallowest `levels` of the encoder learn no more, norm statistics included.

        Raises:
            ValueError: when the encoder has not so many levels.
        """
        stages = self.encoder.stages()
        if not 0 <= levels <= len(stages):
            raise ValueError(f"The encoder has {len(stages)} levels; {levels} cannot be frozen.")
        self.frozen_levels = levels
        for depth, modules in enumerate(stages):
            for module in modules:
                module.requires_grad_(depth >= levels)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As any module's; frozen levels stay as in use, so that no statistic of theirs moves."""
        super().train(mode)
        for modules in self.encoder.stages()[: self.frozen_levels]:
            for module in modules:
                module.eval()
        return self

    def scores(self, unit: torch.Tensor) -> SliceScores:
        """What it says of each frame (N, 1, [Z,] Y, X) by itself."""
        return self.scores_of(self.pooled(unit))

    def scores_of(self, pooled: torch.Tensor) -> SliceScores:
        """What it says of frames by their pooled features (N, F)."""
        features = (pooled - self.feature_mean) / self.feature_scale
        return SliceScores(self.head(features).squeeze(1), self.attention(features))

    def forward(self, unit: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        if mask is None:
            return self.scores(unit).logit
        # Places without a slice never reach the encoder: they cost nothing, and no norm sees them.
        found = self.scores(unit[mask])
        weights = weights_in_scans(found.attention, mask)
        logits = weights.new_zeros(mask.shape).masked_scatter(mask, found.logit.to(weights.dtype))
        return (weights * logits).sum(dim=1)
