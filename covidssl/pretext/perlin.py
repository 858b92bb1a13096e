"""The pretext task: restore the clean slice from one with pseudo-lesions (arXiv:2106.12313)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import field_validator
from torch import nn

from covidssl.augment import (
    AugmentParams,
    AugmentRanges,
    sample_augment,
    see_through,
    to_hu,
    warp,
    without_shortcuts,
)
from covidssl.frames import unit_from_frames
from covidssl.lesions import LesionParams, LesionRanges, Lesions, render, sample
from covidssl.networks.encoder import Encoder
from covidssl.networks.plan import LesionMap
from covidssl.networks.unet import RestorationUNet
from covidssl.perlin import Backend
from covidssl.pretext.clean import CleanSlices
from covidssl.pretext.pretexts import AS_SETS_DIFFER, Course, Pretext, Setting
from covidssl.pretext.restoring import RestorationBatch, RestorationLoss, restored_beside
from covidssl.randomness import torch_generator
from covidssl.training import Losses, Share

_LESION_STREAM, _AUGMENT_STREAM, _SKIP_STREAM = 11, 12, 13


class PerlinPretext(Pretext):
    """How clean slices become examples of restoration.

    Attributes:
        lesions: what lesions may be drawn: keys and values, a preset's name or a YAML file.
        confined: whether lesions lie in the lungs; else anywhere in the picture, as if all of it
            were lung: for comparison.
        augment: how slices are moved and windowed, lesion or not.
        skip_dropout: chance that one skip connection of one picture is closed; one for all levels,
            or one a level, the shallowest first (the deepest level has no skip).
        backend: what computes the Perlin fields.
        loss: weights of the restoration loss.
        lesion_head: what the lesion map is predicted from: `decoder`, `bottleneck`, or `none`.
    """

    kind: Literal["perlin"] = "perlin"
    lesions: Lesions = LesionRanges()
    confined: bool = True
    augment: AugmentRanges = AS_SETS_DIFFER
    skip_dropout: float | tuple[float, ...] = 0.3
    backend: Backend = "auto"
    loss: RestorationLoss = RestorationLoss()
    lesion_head: LesionMap = "decoder"

    @field_validator("skip_dropout")
    @classmethod
    def _are_chances(cls, given: float | tuple[float, ...]) -> float | tuple[float, ...]:
        if not all(0 <= one < 1 for one in (given if isinstance(given, tuple) else (given,))):
            raise ValueError("a chance is at least 0 and less than 1")
        return given

    def network(self, encoder: Encoder) -> RestorationUNet:
        return RestorationUNet(encoder, self.lesion_head)

    def task(self, setting: Setting) -> PerlinTask:
        return PerlinTask(self, setting)

    def misfits(self, course: Course) -> list[str]:
        found = super().misfits(course)
        given, skips = self.skip_dropout, course.levels - 1
        if isinstance(given, tuple) and len(given) != skips:
            found.append(
                f"pretext.skip_dropout holds {len(given)} chances, and an encoder of "
                f"{course.levels} levels has {skips} skip connections: give one a skip, or one for "
                f"all"
            )
        return found


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
    slices = plan.cut(slices, setting, share)
    augmenting, drawing, skipping = (
        torch_generator(setting.seed, stream, share.step)
        for stream in (_AUGMENT_STREAM, _LESION_STREAM, _SKIP_STREAM)
    )
    n = share.drawn
    augment = share.rows(sample_augment(plan.augment, augmenting, n))
    params = share.rows(sample(plan.lesions, drawing, n))
    keep = torch.rand((n, setting.levels - 1), generator=skipping)[share.first :]
    # In one call: most of moving a picture is to reckon where its pixels come from.
    both = torch.cat([unit_from_frames(slices.frames), slices.lungs.to(torch.float32)], dim=1)
    unit, shares = warp(both, augment).split(1, dim=1)
    lungs = shares >= 0.5
    clean_hu = to_hu(unit, setting.window_hu)
    within = lungs if plan.confined else torch.ones_like(lungs)
    rendered = render(clean_hu, within, params, slices.pixel_mm, plan.backend)
    corrupted, clean = (see_through(hu, augment) for hu in (rendered.corrupted_hu, clean_hu))
    # By the ranks of the corrupted one: a sick scan has no others.
    corrupted, clean = without_shortcuts(corrupted, shares, augment, clean)
    batch = RestorationBatch(
        corrupted=corrupted,
        clean=clean,
        lesion=rendered.lesion_map
        if plan.confined
        else _shown(rendered.lesion_map, lungs, augment),
        keep_skips=(keep >= torch.tensor(plan.skip_dropout)).to(unit.device),
    )
    return batch, params


def _shown(lesion: torch.Tensor, lungs: torch.Tensor, augment: AugmentParams) -> torch.Tensor:
    """The part of a lesion map that can be seen: nothing but the lungs of blanked pictures."""
    blanked = augment.blanked.to(lesion.device).view(-1, *[1] * (lesion.ndim - 1))
    return torch.where(blanked & ~lungs, 0.0, lesion)


class PerlinTask:
    """The pretext as the training loop sees it: clean slices in, loss out."""

    def __init__(self, plan: PerlinPretext, setting: Setting) -> None:
        self.plan, self.setting = plan, setting
        self.parts = plan.loss.parts(plan.lesion_head != "none")

    def examples(self, batch: CleanSlices, share: Share) -> RestorationBatch:
        """Corrupted and clean slices of one step, made on the batch's device."""
        return corrupt(CleanSlices(*batch), self.plan, self.setting, share)[0]

    def loss(self, network: nn.Module, examples: RestorationBatch) -> Losses:
        """The restoration loss of one batch."""
        return self.plan.loss.of(network(examples.corrupted, examples.keep_skips), examples)

    def shown(self, network: nn.Module, examples: RestorationBatch) -> dict[str, torch.Tensor]:
        """Corrupted, restored and clean pictures."""
        return restored_beside(network, examples)
