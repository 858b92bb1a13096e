"""What a restoration network learns from, and its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from covidssl.networks.unet import Restored
from covidssl.training import Losses

if TYPE_CHECKING:
    from monai.losses.ssim_loss import SSIMLoss


class RestorationBatch(NamedTuple):
    """What the restoration network learns from, each of the pictures' shape, float32.

    Attributes:
        corrupted: network units, with pseudo-lesions or otherwise spoilt.
        clean: network units, without.
        lesion: in [0, 1], what was spoilt: the lesion map, or the mask.
        keep_skips: (B, levels - 1) bool, which skip connections stay open.
    """

    corrupted: torch.Tensor
    clean: torch.Tensor
    lesion: torch.Tensor
    keep_skips: torch.Tensor


class RestorationLoss(BaseModel):
    """Weights of the restoration loss: every term is a mean over pictures.

    Attributes:
        l1: of the absolute error.
        l2: of the squared error.
        ssim: of 1 - SSIM (Wang et al. 2004; a Gaussian window of 11 pixels, or of as many as fit).
        lesion_weight: how much more an error inside a lesion counts than one outside, in l1 and l2.
        lesion_map: weight of the predicted lesion map's loss.
        lesion_map_loss: `cross_entropy`, or `focal_dice`: focal loss (gamma 2) plus Dice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    l1: float = Field(1.0, ge=0)
    l2: float = Field(0.0, ge=0)
    ssim: float = Field(0.0, ge=0)
    lesion_weight: float = Field(4.0, ge=1)
    lesion_map: float = Field(0.05, ge=0)
    lesion_map_loss: Literal["cross_entropy", "focal_dice"] = "cross_entropy"

    @model_validator(mode="after")
    def _asks_for_restoration(self) -> Self:
        if not (self.l1 or self.l2 or self.ssim):
            raise ValueError("at least one of l1, l2 and ssim must be above 0")
        return self

    def parts(self, lesion_map: bool) -> tuple[str, ...]:
        """Names of what `of` reports, where a lesion map is predicted or not.

        Several terms of restoration are reported each, too.
        """
        terms = [name for name in ("l1", "l2", "ssim") if getattr(self, name)]
        each = terms if len(terms) > 1 else []
        return ("restoration", *each, *(["lesion_map"] if lesion_map else []))

    def of(self, restored: Restored, batch: RestorationBatch) -> Losses:
        """The error of the restored pictures, plus the lesion map's where one is predicted.

        Every picture counts the same, however many pixels of it are lesion.
        """
        error = restored.unit - batch.clean
        terms: dict[str, torch.Tensor] = {}
        if self.l1:
            terms["l1"] = self._inside_weighs_more(error.abs(), batch.lesion)
        if self.l2:
            terms["l2"] = self._inside_weighs_more(error.square(), batch.lesion)
        if self.ssim:
            terms["ssim"] = dissimilarity(restored.unit, batch.clean)
        weighted = [getattr(self, name) * value for name, value in terms.items()]
        restoration = weighted[0] if len(weighted) == 1 else torch.stack(weighted).sum()
        parts = {"restoration": restoration} | (terms if len(terms) > 1 else {})
        if restored.lesion_logit is None:
            return Losses(restoration, parts)
        map_error = self._of_the_map(restored.lesion_logit, batch.lesion)
        parts["lesion_map"] = map_error
        return Losses(restoration + self.lesion_map * map_error, parts)

    def _inside_weighs_more(self, error: torch.Tensor, lesion: torch.Tensor) -> torch.Tensor:
        weight = 1 + (self.lesion_weight - 1) * lesion
        pixels = tuple(range(1, error.ndim))
        return ((weight * error).sum(pixels) / weight.sum(pixels)).mean()

    def _of_the_map(self, logit: torch.Tensor, lesion: torch.Tensor) -> torch.Tensor:
        if self.lesion_map_loss == "cross_entropy":
            return torch.nn.functional.binary_cross_entropy_with_logits(logit, lesion)
        from monai.losses.dice import DiceFocalLoss

        # Smoothed, so that a clean picture is rewarded for an empty map.
        loss = DiceFocalLoss(sigmoid=True, gamma=2.0, smooth_nr=1.0, smooth_dr=1.0)
        return loss(logit.float(), lesion)


def dissimilarity(restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """1 - SSIM of pictures (B, 1, [Z,] Y, X) in network units, a mean over pictures."""
    from monai.losses.ssim_loss import SSIMLoss

    # A window is odd, and no wider than the picture.
    window = [min(11, edge - 1 + edge % 2) for edge in clean.shape[2:]]
    loss: SSIMLoss = SSIMLoss(spatial_dims=clean.ndim - 2, data_range=1.0, win_size=window)
    # Variances are small differences of large sums: half precision would lose them.
    with torch.autocast(clean.device.type, enabled=False):
        return loss(restored.float(), clean.float())


def restored_beside(network: nn.Module, examples: RestorationBatch) -> dict[str, torch.Tensor]:
    """Corrupted, restored and clean pictures, by these titles."""
    restored = network(examples.corrupted).unit
    return {"corrupted": examples.corrupted, "restored": restored, "clean": examples.clean}
