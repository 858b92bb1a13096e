"""Heads: how slices are weighed against each other before the classifier answers for a scan."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn


class HeadPlan(BaseModel):
    """What stands on the encoder's pooled features; written in the model's card.

    Attributes:
        kind: `linear` learns from single frames (slices, or volumes: then it answers for a scan by
            itself); `attention` learns from all slices of a scan at once, and which of them count
            (gated attention, Ilse, Tomczak and Welling, ICML 2018).
        attention_features: width of the attention's hidden layer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["linear", "attention"] = "linear"
    attention_features: int = Field(64, ge=1, le=4096)


class SliceScores(NamedTuple):
    """What a classifier says of frames, each (N,): of slices, or of volumes.

    Attributes:
        logit: of each frame by itself.
        attention: how much each shall count in its scan, before the softmax over the scan's frames;
            0 where the head has none.
    """

    logit: torch.Tensor
    attention: torch.Tensor


class NoAttention(nn.Module):
    """Features (N, F) -> (N,) zeros: every slice counts the same."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.new_zeros(features.shape[0])


class GatedAttention(nn.Module):
    """Features (N, F) -> (N,) how much each slice shall count: w . (tanh(V h) * sigmoid(U h)).

    Its last layer starts at 0, so that before training all slices count the same.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.content = nn.Linear(features, hidden)
        self.gate = nn.Linear(features, hidden)
        # Without a bias: the softmax takes the same from all slices.
        self.score = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        gated = torch.tanh(self.content(features)) * torch.sigmoid(self.gate(features))
        score: torch.Tensor = self.score(gated)
        return score.squeeze(1)


def build_attention(plan: HeadPlan, features: int) -> NoAttention | GatedAttention:
    """The attention of a head over so many pooled features."""
    if plan.kind == "attention":
        return GatedAttention(features, plan.attention_features)
    return NoAttention()


def weights_in_scans(attention: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Softmax of scores within each scan: (N,) of all slices, mask (B, K) -> (B, K).

    Slices stand in the mask's order; a place without a slice gets exactly 0.
    """
    scores = torch.full(mask.shape, float("-inf"), dtype=attention.dtype, device=mask.device)
    return torch.softmax(scores.masked_scatter(mask, attention), dim=1)
