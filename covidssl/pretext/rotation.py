"""Telling rotations: by which of four quarter turns was a picture turned?

Gidaris et al., "Unsupervised representation learning by predicting image rotations" (ICLR 2018).
As there, all four turns of a picture are seen in one step. Volumes are turned within their slices.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import nn

from covidssl.augment import AugmentRanges
from covidssl.networks.encoder import Encoder
from covidssl.pretext.clean import CleanSlices
from covidssl.pretext.pretexts import AS_SETS_DIFFER, Course, Pretext, Setting
from covidssl.pretext.views import seen
from covidssl.training import Losses, Share

_AUGMENT_STREAM = 85
TURNS = 4


class RotationPretext(Pretext):
    """How pictures are moved and windowed (`augment`) before they are turned."""

    kind: Literal["rotation"] = "rotation"
    augment: AugmentRanges = AS_SETS_DIFFER

    def network(self, encoder: Encoder) -> RotationNetwork:
        return RotationNetwork(encoder)

    def task(self, setting: Setting) -> RotationTask:
        return RotationTask(self, setting)

    def misfits(self, course: Course) -> list[str]:
        found = super().misfits(course)
        if self.patch is not None and self.patch[1] != self.patch[2]:
            found.append("pretext.patch must be square within a slice: its turns are compared")
        return found


class RotationNetwork(nn.Module):
    """(B, 1, [Z,] Y, X) -> (B, 4) logits of the quarter turns, from the deepest level."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.channels[-1], TURNS)

    def forward(self, unit: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(unit)[-1].flatten(2).mean(2))


class RotationBatch(NamedTuple):
    """Upright pictures (B, 1, [Z,] Y, X) in network units; they are turned one by one."""

    upright: torch.Tensor


def turned(unit: torch.Tensor, turns: int) -> torch.Tensor:
    """Pictures turned by so many quarters within their slices."""
    return unit.rot90(turns, dims=(-2, -1))


class RotationTask:
    """The pretext as the training loop sees it."""

    parts = ("accuracy",)

    def __init__(self, plan: RotationPretext, setting: Setting) -> None:
        self.plan, self.setting = plan, setting

    def examples(self, batch: CleanSlices, share: Share) -> RotationBatch:
        """Upright pictures of one step."""
        slices = self.plan.cut(batch, self.setting, share)
        return RotationBatch(
            seen(slices, self.plan.augment, self.setting, (_AUGMENT_STREAM,), share)
        )

    def loss(self, network: nn.Module, examples: RotationBatch) -> Losses:
        """Cross-entropy over all four turns of every picture, and the share told rightly."""
        pictures = len(examples.upright)
        logits = network(torch.cat([turned(examples.upright, k) for k in range(TURNS)]))
        truth = torch.arange(TURNS, device=logits.device).repeat_interleave(pictures)
        right = (logits.argmax(1) == truth).to(torch.float32).mean()
        return Losses(nn.functional.cross_entropy(logits, truth), {"accuracy": right})

    def shown(self, _network: nn.Module, examples: RotationBatch) -> dict[str, torch.Tensor]:
        """The four turns."""
        return {f"{90 * k} degrees": turned(examples.upright, k) for k in range(TURNS)}
