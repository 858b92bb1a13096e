"""Masked restoration for convolutional networks: fill in the patches that were hidden.

He et al., "Masked autoencoders are scalable vision learners" (CVPR 2022), in the form that a
convolutional network can learn: every pixel stays in the picture and masked patches are filled, as
SimMIM does it (Xie et al., CVPR 2022: 60 % masked, L1 on masked pixels alone), with a hierarchy of
skip connections as in SparK (Tian et al., ICLR 2023). The filling is the mean of what is visible
(A2MIM, Li et al., ICML 2023): zero would be air.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from covidssl.augment import AugmentRanges
from covidssl.networks.encoder import Encoder
from covidssl.networks.unet import RestorationUNet
from covidssl.pretext.clean import CleanSlices
from covidssl.pretext.pretexts import AS_SETS_DIFFER, Course, Pretext, Setting
from covidssl.pretext.restoring import RestorationBatch, restored_beside
from covidssl.pretext.views import seen
from covidssl.randomness import torch_generator
from covidssl.training import Losses, Share

_AUGMENT_STREAM, _MASK_STREAM = 83, 84


class MaePretext(Pretext):
    """How much is hidden.

    Attributes:
        augment: how pictures are moved and windowed before.
        mask_ratio: share of the patches that is hidden.
        mask_patch: edge of a hidden patch in pixels, along every axis; patches at the far ends
            are cut off by the frame.
    """

    kind: Literal["mae"] = "mae"
    augment: AugmentRanges = AS_SETS_DIFFER
    mask_ratio: float = Field(0.6, gt=0, lt=1)
    mask_patch: int = Field(16, ge=2)

    def network(self, encoder: Encoder) -> RestorationUNet:
        return RestorationUNet(encoder, "none")

    def task(self, setting: Setting) -> MaeTask:
        return MaeTask(self, setting)

    def misfits(self, course: Course) -> list[str]:
        found = super().misfits(course)
        seen_at_once = self.patch or course.frame
        if math.prod(_grid(self, seen_at_once)) < 2:
            found.append(
                f"pretext.mask_patch {self.mask_patch} hides the whole of "
                f"{list(seen_at_once)} pixels at once, and nothing would be left to fill it from: "
                f"set pretext.mask_patch to less than the longest edge"
            )
        return found


def sample_masks(
    plan: MaePretext, generator: torch.Generator, n: int, shape: tuple[int, ...]
) -> torch.Tensor:
    """Draw `n` masks (n, 1, [Z,] Y, X), True where hidden: as many patches of every picture.

    At least one patch is hidden, and one is not; `MaePretext.misfits` refuses a picture that is
    one patch.
    """
    grid = _grid(plan, shape)
    patches = math.prod(grid)
    hidden = min(max(1, round(plan.mask_ratio * patches)), patches - 1)
    rank = torch.rand((n, patches), generator=generator).argsort(1).argsort(1)
    mask = (rank < hidden).view(n, 1, *grid)
    for axis, edge in enumerate(shape, start=2):
        mask = mask.repeat_interleave(plan.mask_patch, dim=axis).narrow(axis, 0, edge)
    return mask


def _grid(plan: MaePretext, shape: tuple[int, ...]) -> list[int]:
    """Patches along every axis."""
    return [math.ceil(edge / plan.mask_patch) for edge in shape]


def hide(unit: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Pictures (B, 1, [Z,] Y, X) whose masked pixels have the mean of those that are not."""
    pixels = tuple(range(1, unit.ndim))
    visible = (~mask).to(unit.dtype)
    mean = (unit * visible).sum(pixels, keepdim=True) / visible.sum(pixels, keepdim=True).clamp_min(
        1
    )
    return torch.where(mask, mean, unit)


class MaeTask:
    """The pretext as the training loop sees it."""

    parts = ("restoration",)

    def __init__(self, plan: MaePretext, setting: Setting) -> None:
        self.plan, self.setting = plan, setting

    def examples(self, batch: CleanSlices, share: Share) -> RestorationBatch:
        """Masked and whole pictures of one step; `lesion` is the mask."""
        slices = self.plan.cut(batch, self.setting, share)
        clean = seen(slices, self.plan.augment, self.setting, (_AUGMENT_STREAM,), share)
        generator = torch_generator(self.setting.seed, _MASK_STREAM, share.step)
        masks = sample_masks(self.plan, generator, share.drawn, tuple(clean.shape[2:]))
        mask = masks[share.first :].to(clean.device)
        keep = torch.ones((len(clean), self.setting.levels - 1), dtype=torch.bool)
        return RestorationBatch(
            hide(clean, mask), clean, mask.to(clean.dtype), keep.to(clean.device)
        )

    def loss(self, network: nn.Module, examples: RestorationBatch) -> Losses:
        """Mean absolute error of the masked pixels; what is visible costs nothing."""
        error = (network(examples.corrupted).unit - examples.clean).abs()
        pixels = tuple(range(1, error.ndim))
        masked = examples.lesion
        restoration = ((error * masked).sum(pixels) / masked.sum(pixels)).mean()
        return Losses(restoration, {"restoration": restoration})

    def shown(self, network: nn.Module, examples: RestorationBatch) -> dict[str, torch.Tensor]:
        """Masked, restored and whole pictures."""
        return restored_beside(network, examples)
