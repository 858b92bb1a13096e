"""The worst change within a bound: projected gradient descent (Madry et al., ICLR 2018).

A change so small that nobody sees it, chosen against the classifier. It is no accident that happens
to a scan; it bounds from below how far a model can be led astray within the same bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from covidssl.altering import Key, Opened, cut
from covidssl.diagnosis import in_batches
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.model import Aggregation, Model
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.heads import SliceScores
from covidssl.randomness import torch_generator

_STREAM = 165
_STRIDE = 2.5  # of a bound, in all steps together, as Madry et al. have it

Batches = list[torch.Tensor]


@dataclass(frozen=True)
class Attack:
    """Projected gradient descent within a bound on every pixel of the frames.

    Attributes:
        bound: the most that a pixel changes: HU, or grey levels for a network of 8-bit slices.
        steps: of descent, from a start drawn within the bound.
    """

    bound: float
    steps: int

    def bound_unit(self, frame: Frame) -> float:
        """The bound in network units, where the window is 0..1."""
        if frame.pixels is Pixels.HU:
            low, high = frame.window_hu
            return self.bound / (high - low)
        return self.bound / 255.0


@dataclass(frozen=True)
class Attacked:
    """What an attack found.

    Attributes:
        unit: (N, 1, [D,] H, W) frames in network units, float32.
        logit: of the scan.
    """

    unit: NDArray[np.float32]
    logit: float


def attacked_logit(model: Model, scan: Opened, positive: bool, attack: Attack, key: Key) -> float:
    """Logit of a scan under the worst change that was found within the bound.

    Raises:
        ScanError: when the scan is not of the kind that the model can see.
    """
    return attacked(model, cut(model, scan).frames, positive, attack, key).logit


def attacked(
    model: Model, frames: NDArray[np.uint16], positive: bool, attack: Attack, key: Key
) -> Attacked:
    """Frames (N, [D,] H, W) of one scan, changed within the bound so that the answer gets worse.

    The loss is the cross-entropy of the scan's logit, through the aggregation rule. It rises and
    falls with that logit alone, whose gradient is taken: it has the same signs, and does not vanish
    where the model is sure. The worst of the clean scan and all steps is kept, so that the loss
    never falls.

    Args:
        model: the classifier, on its device.
        frames: of the scan.
        positive: its label.
        attack: bound and steps.
        key: of the start; the same key gives the same change.
    """
    network, aggregation = model.classifier, model.card.aggregation
    network.eval()
    bound = attack.bound_unit(model.card.frame)
    sign = -1.0 if positive else 1.0
    clean = list(in_batches(frames, model.device))
    worst, logit = clean, _logit(_all_scores(network, clean), aggregation)
    generator = torch_generator(*key, _STREAM)
    now = [_within(one, one + bound * _start(one, generator), bound) for one in clean]
    for step in range(attack.steps + 1):
        scores = _all_scores(network, now)
        found = _logit(scores, aggregation)
        if sign * found > sign * logit:
            worst, logit = now, found
        if step < attack.steps:
            stride = sign * _STRIDE * bound / attack.steps
            slopes = _slopes(network, now, scores, aggregation)
            now = [
                _within(one, moved + stride * slope.sign(), bound)
                for one, moved, slope in zip(clean, now, slopes, strict=True)
            ]
    return Attacked(torch.cat(worst).cpu().numpy(), logit)


def _start(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Even draws in [-1, 1]; on the CPU, so that they are the same on every device."""
    drawn = torch.rand(like.shape, generator=generator) * 2 - 1
    return drawn.to(like.device)


def _within(clean: torch.Tensor, moved: torch.Tensor, bound: float) -> torch.Tensor:
    """Nearest frames that are within the bound, and in [0, 1]."""
    return torch.minimum(torch.maximum(moved, clean - bound), clean + bound).clamp(0.0, 1.0)


@torch.no_grad()
def _all_scores(network: CovidClassifier, frames: Batches) -> SliceScores:
    found = [network.scores(batch) for batch in frames]
    return SliceScores(
        torch.cat([one.logit for one in found]).double(),
        torch.cat([one.attention for one in found]).double(),
    )


def _logit(scores: SliceScores, aggregation: Aggregation) -> float:
    found = aggregation.of(scores.logit.cpu().numpy(), scores.attention.cpu().numpy())
    if not math.isfinite(found):
        raise ValueError("The classifier gave a logit that is not finite.")
    return found


def _slopes(
    network: CovidClassifier, frames: Batches, scores: SliceScores, aggregation: Aggregation
) -> Batches:
    """Gradients of the scan's logit, batch by batch, so that memory stays that of one."""
    weights, attention = _shares(scores, aggregation)
    slopes, first = [], 0
    for batch in frames:
        rows = slice(first, first + len(batch))
        first += len(batch)
        pixels = batch.clone().requires_grad_()
        found = network.scores(pixels)
        total = (found.logit * weights[rows].to(found.logit)).sum()
        if aggregation.rule == "attention":
            total = total + (found.attention * attention[rows].to(found.attention)).sum()
        (slope,) = torch.autograd.grad(total, pixels)
        slopes.append(slope)
    return slopes


def _shares(scores: SliceScores, aggregation: Aggregation) -> tuple[torch.Tensor, torch.Tensor]:
    """By how much the scan's logit rises with each slice's logit, and with its attention, (N,)."""
    logits, attention = scores.logit.cpu().numpy(), scores.attention.cpu().numpy()
    weights = aggregation.weights(logits, attention)
    # Of a softmax: the weight times how far the slice's logit lies above the scan's.
    by_attention = weights * (logits - weights @ logits)
    return torch.from_numpy(weights), torch.from_numpy(by_attention)
