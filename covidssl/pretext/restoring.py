"""What a restoration network learns from, and its loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field

from covidssl.networks.unet import Restored
from covidssl.training import Losses


class RestorationBatch(NamedTuple):
    """What the restoration network learns from, each of the pictures' shape, float32.

    Attributes:
        corrupted: network units, with pseudo-lesions.
        clean: network units, without.
        lesion: the lesion map in [0, 1].
        keep_skips: (B, levels - 1) bool, which skip connections stay open.
    """

    corrupted: torch.Tensor
    clean: torch.Tensor
    lesion: torch.Tensor
    keep_skips: torch.Tensor


class RestorationLoss(BaseModel):
    """Weights of the restoration loss.

    Attributes:
        lesion_weight: how much more an error inside a lesion counts than one outside.
        lesion_map: weight of the cross-entropy of the predicted lesion map.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lesion_weight: float = Field(4.0, ge=1)
    lesion_map: float = Field(0.05, ge=0)

    def of(self, restored: Restored, batch: RestorationBatch) -> Losses:
        """L1 of the restored slices, weighted by the lesions, plus the lesion map's entropy.

        Every picture counts the same, however many pixels of it are lesion.
        """
        weight = 1 + (self.lesion_weight - 1) * batch.lesion
        error = (restored.unit - batch.clean).abs()
        pixels = tuple(range(1, batch.clean.ndim))
        restoration = ((weight * error).sum(pixels) / weight.sum(pixels)).mean()
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(
            restored.lesion_logit, batch.lesion
        )
        parts = {"restoration": restoration, "lesion_map": entropy}
        return Losses(restoration + self.lesion_map * entropy, parts)
