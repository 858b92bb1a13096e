"""The pretext task: restore the clean slice from one with pseudo-lesions (arXiv:2106.12313)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from covidssl.augment import AugmentRanges, sample_augment, see_through, to_hu, warp
from covidssl.frames import unit_from_frames
from covidssl.lesions import LesionParams, LesionRanges, Lesions, render, sample
from covidssl.networks.encoder import Encoder
from covidssl.networks.unet import RestorationUNet
from covidssl.perlin import Backend
from covidssl.pretext.clean import CleanSlices
from covidssl.pretext.pretexts import Pretext, Setting
from covidssl.pretext.restoring import RestorationBatch, RestorationLoss
from covidssl.randomness import torch_generator
from covidssl.training import Losses, Share

_LESION_STREAM, _AUGMENT_STREAM, _SKIP_STREAM = 11, 12, 13


class PerlinPretext(Pretext):
    """How clean slices become examples of restoration.

    Attributes:
        lesions: what lesions may be drawn: keys and values, a preset's name or a YAML file.
        augment: how slices are moved and windowed, lesion or not.
        skip_dropout: chance that one skip connection of one picture is closed.
        backend: what computes the Perlin fields.
        loss: weights of the restoration loss.
    """

    kind: Literal["perlin"] = "perlin"
    lesions: Lesions = LesionRanges()
    # As wide as the public sets differ: their lungs lie at grey values from 28 to 107 of 255.
    augment: AugmentRanges = AugmentRanges(
        window_low_hu=(-1600.0, -950.0), window_high_hu=(100.0, 450.0)
    )
    skip_dropout: float = Field(0.3, ge=0, lt=1)
    backend: Backend = "auto"
    loss: RestorationLoss = RestorationLoss()

    def network(self, encoder: Encoder) -> RestorationUNet:
        return RestorationUNet(encoder)

    def task(self, setting: Setting) -> PerlinTask:
        return PerlinTask(self, setting)


def corrupt(
    slices: CleanSlices, plan: PerlinPretext, setting: Setting, share: Share
) -> tuple[RestorationBatch, LesionParams]:
    """Draw pseudo-lesions for a batch, on the device of `slices`, keyed by seed and step.

    Args:
        slices: clean slices and their lungs.
        plan: what may be drawn.
        setting: window, levels and seed of the run.
        share: which pictures of which step; the same ones get the same draws.

    Returns:
        The batch, and the lesions' params.
    """
    augmenting, drawing, skipping = (
        torch_generator(setting.seed, stream, share.step)
        for stream in (_AUGMENT_STREAM, _LESION_STREAM, _SKIP_STREAM)
    )
    n = share.drawn
    augment = share.rows(sample_augment(plan.augment, augmenting, n))
    params = share.rows(sample(plan.lesions, drawing, n))
    keep = torch.rand((n, setting.levels - 1), generator=skipping)[share.first :]
    unit = warp(unit_from_frames(slices.frames), augment)
    lungs = warp(slices.lungs.to(torch.float32), augment) >= 0.5
    clean_hu = to_hu(unit, setting.window_hu)
    rendered = render(clean_hu, lungs, params, slices.pixel_mm, plan.backend)
    batch = RestorationBatch(
        corrupted=see_through(rendered.corrupted_hu, augment),
        clean=see_through(clean_hu, augment),
        lesion=rendered.lesion_map,
        keep_skips=(keep >= plan.skip_dropout).to(unit.device),
    )
    return batch, params


class PerlinTask:
    """The pretext as the training loop sees it: clean slices in, loss out."""

    parts = ("restoration", "lesion_map")

    def __init__(self, plan: PerlinPretext, setting: Setting) -> None:
        self.plan, self.setting = plan, setting

    def examples(self, batch: CleanSlices, share: Share) -> RestorationBatch:
        """Corrupted and clean slices of one step, made on the batch's device."""
        return corrupt(CleanSlices(*batch), self.plan, self.setting, share)[0]

    def loss(self, network: nn.Module, examples: RestorationBatch) -> Losses:
        """The restoration loss of one batch."""
        return self.plan.loss.of(network(examples.corrupted, examples.keep_skips), examples)
