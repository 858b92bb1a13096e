"""The pretext task: restore the clean slice from one with pseudo-lesions (arXiv:2106.12313)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from covidssl.augment import AugmentRanges, sample_augment, see_through, to_hu, warp
from covidssl.frames import unit_from_frames
from covidssl.hounsfield import Window
from covidssl.lesions import LesionParams, LesionRanges, Lesions, render, sample
from covidssl.networks.unet import Restored
from covidssl.perlin import Backend
from covidssl.randomness import torch_generator
from covidssl.training import Losses

_LESION_STREAM, _AUGMENT_STREAM, _SKIP_STREAM = 11, 12, 13


class CleanSlices(NamedTuple):
    """A batch of clean slices.

    Attributes:
        frames: (B, 1, H, W) uint16, network units scaled to 0..65535.
        lungs: (B, 1, H, W) bool.
        pixel_mm: (B, 2) size (y, x) of a pixel in mm.
    """

    frames: torch.Tensor
    lungs: torch.Tensor
    pixel_mm: torch.Tensor


class RestorationBatch(NamedTuple):
    """What the restoration network learns from, each (B, 1, H, W) float32.

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


class PretextPlan(BaseModel):
    """How clean slices become examples of restoration.

    Attributes:
        lesions: what lesions may be drawn: keys and values, a preset's name or a YAML file.
        augment: how slices are moved and windowed, lesion or not.
        skip_dropout: chance that one skip connection of one picture is closed.
        backend: what computes the Perlin fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lesions: Lesions = LesionRanges()
    # As wide as the public sets differ: their lungs lie at grey values from 28 to 107 of 255.
    augment: AugmentRanges = AugmentRanges(
        window_low_hu=(-1600.0, -950.0), window_high_hu=(100.0, 450.0)
    )
    skip_dropout: float = Field(0.3, ge=0, lt=1)
    backend: Backend = "auto"


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
        pixels = (1, 2, 3)
        restoration = ((weight * error).sum(pixels) / weight.sum(pixels)).mean()
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(
            restored.lesion_logit, batch.lesion
        )
        parts = {"restoration": restoration, "lesion_map": entropy}
        return Losses(restoration + self.lesion_map * entropy, parts)


def corrupt(
    slices: CleanSlices, plan: PretextPlan, window_hu: Window, levels: int, key: tuple[int, int]
) -> tuple[RestorationBatch, LesionParams]:
    """Draw pseudo-lesions for a batch, on the device of `slices`, keyed by (seed, step).

    Args:
        slices: clean slices and their lungs.
        plan: what may be drawn.
        window_hu: the window of the frames; windowed pictures are taken for one seen through it.
        levels: of the encoder.
        key: (seed, step); the same key gives the same batch.

    Returns:
        The batch, and the lesions' params.
    """
    seed, step = key
    n = len(slices.frames)
    augment = sample_augment(plan.augment, torch_generator(seed, _AUGMENT_STREAM, step), n)
    params = sample(plan.lesions, torch_generator(seed, _LESION_STREAM, step), n)
    keep = torch.rand((n, levels - 1), generator=torch_generator(seed, _SKIP_STREAM, step))
    unit = warp(unit_from_frames(slices.frames), augment)
    lungs = warp(slices.lungs.to(torch.float32), augment) >= 0.5
    clean_hu = to_hu(unit, window_hu)
    rendered = render(clean_hu, lungs, params, slices.pixel_mm, plan.backend)
    batch = RestorationBatch(
        corrupted=see_through(rendered.corrupted_hu, augment),
        clean=see_through(clean_hu, augment),
        lesion=rendered.lesion_map,
        keep_skips=(keep >= plan.skip_dropout).to(unit.device),
    )
    return batch, params


class RestorationTask:
    """The pretext as the training loop sees it: clean slices in, loss out."""

    parts = ("restoration", "lesion_map")

    def __init__(
        self, plan: PretextPlan, loss: RestorationLoss, window_hu: Window, levels: int, seed: int
    ) -> None:
        self.plan, self.weights, self.window_hu = plan, loss, window_hu
        self.levels, self.seed = levels, seed

    def examples(self, batch: CleanSlices, step: int) -> RestorationBatch:
        """Corrupted and clean slices of one step, made on the batch's device."""
        return corrupt(
            CleanSlices(*batch), self.plan, self.window_hu, self.levels, (self.seed, step)
        )[0]

    def loss(self, network: nn.Module, examples: RestorationBatch) -> Losses:
        """The restoration loss of one batch."""
        return self.weights.of(network(examples.corrupted, examples.keep_skips), examples)
