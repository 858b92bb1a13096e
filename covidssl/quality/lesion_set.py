"""A fixed set of pseudo-lesions, and how well a restoration network finds and lifts them off."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from covidssl.augment import to_hu
from covidssl.errors import DataError
from covidssl.frames import unit_from_frames
from covidssl.hounsfield import Window
from covidssl.lesions import LesionRanges, render, sample
from covidssl.networks.unet import RestorationUNet
from covidssl.pretext import CleanSlices
from covidssl.randomness import torch_generator

_STREAM = 93
_PIXELS_AT_ONCE = 2**20


@dataclass(frozen=True)
class LesionSet:
    """Pictures with pseudo-lesions, each of the same shape (B, 1, [Z,] Y, X), on the CPU.

    Attributes:
        corrupted: network units, with lesions.
        clean: network units, without.
        lesion: bool, where a lesion has at least half of its opacity.
        lungs: bool.
    """

    corrupted: torch.Tensor
    clean: torch.Tensor
    lesion: torch.Tensor
    lungs: torch.Tensor


def draw_lesion_set(clean: CleanSlices, lesions: LesionRanges, window_hu: Window) -> LesionSet:
    """Draw lesions into every picture by a key that no training step, and no seed, has.

    Pictures are neither moved nor seen through another window: the set is the same in all runs on
    a store that draw such lesions.

    Raises:
        DataError: when no lesion shows in any lung, so that nothing could be told apart.
    """
    low, high = window_hu
    generator = torch_generator(_STREAM)
    drawn = lesions.model_copy(update={"clean_share": 0.0})
    params = sample(drawn, generator, len(clean.frames))
    hu = to_hu(unit_from_frames(clean.frames), window_hu)
    rendered = render(hu, clean.lungs, params, clean.pixel_mm)
    found = LesionSet(
        corrupted=((rendered.corrupted_hu - low) / (high - low)).clamp(0.0, 1.0),
        clean=unit_from_frames(clean.frames),
        lesion=rendered.lesion_map >= 0.5,
        lungs=clean.lungs,
    )
    inside = found.lesion & found.lungs
    if not bool(inside.any()) or bool(inside.sum() == found.lungs.sum()):
        raise DataError(
            "The lesions that pretext.lesions draws leave no lesion or nothing but lesion in the "
            "lungs of the slices that are watched. Draw others, or set quality.every=null."
        )
    return found


@torch.no_grad()
def lesion_quality(network: RestorationUNet, lesions: LesionSet) -> dict[str, float]:
    """Errors of restoration in network units, and how well pixels of the lungs are told apart.

    `error_inside` and `error_outside` are means of the absolute error over the pixels inside and
    outside lesions; `lesion_auroc` is that of what is lifted off, and `lesion_map_auroc` that of
    the predicted lesion map, over all pixels of all lungs.
    """
    network.eval()
    device = next(network.parameters()).device
    size = max(1, _PIXELS_AT_ONCE // math.prod(lesions.clean.shape[1:]))
    units, logits = [], []
    for piece in lesions.corrupted.split(size):
        restored = network(piece.to(device))
        units.append(restored.unit.float().cpu())
        if restored.lesion_logit is not None:
            logits.append(restored.lesion_logit.float().cpu())
    unit = torch.cat(units)
    error = (unit - lesions.clean).abs()
    found = {
        "error_inside": float(error[lesions.lesion].double().mean()),
        "error_outside": float(error[~lesions.lesion].double().mean()),
        "lesion_auroc": _auroc(lesions, lesions.corrupted - unit),
    }
    if logits:
        found["lesion_map_auroc"] = _auroc(lesions, torch.cat(logits))
    return found


def _auroc(lesions: LesionSet, score: torch.Tensor) -> float:
    target = lesions.lesion[lesions.lungs].numpy().astype(np.int8)
    return float(roc_auc_score(target, score[lesions.lungs].numpy()))
