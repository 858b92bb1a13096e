"""Fine-tuning: labelled frames in, a classifier out; and the linear probe that it starts from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import nn
from torch.utils.data import Dataset

from covidssl.augment import AugmentRanges, sample_augment, see_through, to_hu, warp
from covidssl.frames import unit_from_frames
from covidssl.hounsfield import Window
from covidssl.networks.classifier import CovidClassifier
from covidssl.randomness import torch_generator
from covidssl.training import Losses, Share

_AUGMENT_STREAM = 31
_PROBE_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
_MOST_FRAMES, _MOST_PIXELS = 64, 2**20  # that go through the network at once, without gradients


class LabelledBatch(NamedTuple):
    """A batch of labelled frames: frames (B, 1, [D,] H, W) uint16, target (B,) of 0.0 and 1.0."""

    frames: torch.Tensor
    target: torch.Tensor


class DiagnosisBatch(NamedTuple):
    """What the classifier learns from: unit (B, 1, [D,] H, W), target (B,), weight (B,), float."""

    unit: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor


class FramesInMemory(Dataset[LabelledBatch]):
    """Labelled frames as a dataset: `frames` (N, [D,] H, W) uint16, `target` (N,)."""

    def __init__(self, frames: NDArray[np.uint16], target: NDArray[np.int64]) -> None:
        self.frames, self.target = frames, target

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> LabelledBatch:
        return LabelledBatch(
            torch.from_numpy(self.frames[index][None]),
            torch.tensor(self.target[index], dtype=torch.float32),
        )


class LabelTask:
    """What fine-tuning on frames and on scans have in common.

    Classes are weighted so that both count the same, however many examples each has.
    """

    parts = ("cross_entropy",)

    def __init__(
        self, augment: AugmentRanges, window_hu: Window, target: NDArray[np.int64], seed: int
    ) -> None:
        self.augment, self.window_hu, self.seed = augment, window_hu, seed
        self.weights = class_weights(target)

    def seen(self, frames: torch.Tensor, share: Share) -> torch.Tensor:
        """Augmented frames (B, C, [D,] H, W), one draw a row, keyed by seed, step and place."""
        generator = torch_generator(self.seed, _AUGMENT_STREAM, share.step)
        params = share.rows(sample_augment(self.augment, generator, share.drawn))
        moved = warp(unit_from_frames(frames), params)
        return see_through(to_hu(moved, self.window_hu), params)

    def weight(self, target: torch.Tensor) -> torch.Tensor:
        """Weight (B,) of examples of target (B,)."""
        return torch.where(target > 0.5, self.weights[1], self.weights[0])


class DiagnosisTask(LabelTask):
    """Fine-tuning on frames as the training loop sees it."""

    def examples(self, batch: LabelledBatch, share: Share) -> DiagnosisBatch:
        """Augmented frames of one step."""
        unit = self.seen(batch.frames, share)
        return DiagnosisBatch(unit, batch.target, self.weight(batch.target))

    def loss(self, network: nn.Module, examples: DiagnosisBatch) -> Losses:
        """Weighted cross-entropy of the frames' logits."""
        return weighted_entropy(network(examples.unit), examples.target, examples.weight)


def class_weights(target: NDArray[np.int64]) -> tuple[float, float]:
    """Weights of negative and positive examples, by which both classes count the same."""
    positives = max(int(target.sum()), 1)
    negatives = max(len(target) - positives, 1)
    return len(target) / (2 * negatives), len(target) / (2 * positives)


def weighted_entropy(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> Losses:
    """Cross-entropy of logits (B,) with target (B,) and weight (B,), as the loop takes it."""
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, target, weight=weight)
    return Losses(entropy, {"cross_entropy": entropy})


class FrameScores(NamedTuple):
    """`SliceScores` of frames as arrays: the logit and the attention of each, (N,)."""

    logit: NDArray[np.float64]
    attention: NDArray[np.float64]


@torch.no_grad()
def scores_of(
    network: CovidClassifier, frames: NDArray[np.uint16], device: torch.device
) -> FrameScores:
    """Scores of frames (N, [D,] H, W), without augmentation; none for no frames."""
    network.eval()
    found = [network.scores(unit) for unit in in_batches(frames, device)]
    logit, attention = (
        torch.cat([part.float().cpu() for part in parts]).double().numpy()
        if parts
        else np.empty(0, dtype=np.float64)
        for parts in ([one.logit for one in found], [one.attention for one in found])
    )
    return FrameScores(logit, attention)


@torch.no_grad()
def pooled_features(
    network: CovidClassifier, frames: NDArray[np.uint16], device: torch.device
) -> NDArray[np.float32]:
    """Pooled features (N, F) of frames (N, [D,] H, W), before they are scaled."""
    network.eval()
    found = [network.pooled(unit).float().cpu() for unit in in_batches(frames, device)]
    return torch.cat(found).numpy()


class ProbeData(NamedTuple):
    """What a linear probe is fitted on: features (N, F) and target (N,)."""

    features: NDArray[np.float32]
    target: NDArray[np.int64]


def start_from_probe(
    network: CovidClassifier,
    train: ProbeData,
    validation: ProbeData,
    spread: NDArray[np.float32] | None = None,
) -> float:
    """Fit a linear probe on pooled features, and let the head start from it.

    A head that starts at random would, in its first steps, wash out what the encoder has learnt
    (Kumar et al., ICLR 2022). The probe's strength is the one of least validation loss.

    Args:
        network: its feature scale and head are set.
        train: features and target.
        validation: the same of the validation split.
        spread: features (M, F) by whose mean and deviation they are centred and scaled; None for
            those of `train`.

    Returns:
        The validation loss of the probe.
    """
    spread = train.features if spread is None else spread
    mean, scale = spread.mean(0), spread.std(0)
    scale = np.where(scale > 1e-6, scale, np.float32(1.0))
    weight, bias, loss = fit_probe(
        ProbeData((train.features - mean) / scale, train.target),
        ProbeData((validation.features - mean) / scale, validation.target),
    )
    network.set_feature_scale(torch.from_numpy(mean), torch.from_numpy(scale))
    network.set_head(torch.from_numpy(weight), torch.tensor(bias, dtype=torch.float32))
    return loss


class Probe(NamedTuple):
    """A linear probe: weight (F,), bias, and its loss on what chose its strength."""

    weight: NDArray[np.float32]
    bias: float
    loss: float


def fit_probe(train: ProbeData, validation: ProbeData) -> Probe:
    """The linear probe of least loss on `validation`, of all `_PROBE_STRENGTHS`.

    Features are taken as they are: both must have been centred and scaled alike. Of an L2 penalty
    the best weights lie in the span of the pictures: where there are fewer of them than features,
    it is fitted in that span, which gives the same and takes far less time.
    """
    span = None
    found, held = train.features, validation.features
    if len(found) < found.shape[1]:
        span = np.linalg.qr(found.T)[0].astype(np.float32)
        found, held = found @ span, held @ span
    probe = LogisticRegression(class_weight="balanced", max_iter=2000, warm_start=True)
    best: Probe | None = None
    for strength in _PROBE_STRENGTHS:
        probe.set_params(C=strength).fit(found, train.target)
        chance = probe.predict_proba(held)[:, 1]
        loss = float(log_loss(validation.target, chance, labels=[0, 1]))
        if best is None or loss < best.loss:
            best = Probe(probe.coef_[0].astype(np.float32), float(probe.intercept_[0]), loss)
    if best is None:
        raise ValueError("No probe strength was tried.")
    return best if span is None else best._replace(weight=span @ best.weight)


def parameter_groups(
    network: CovidClassifier, head_rate: float, layer_decay: float, attention_rate: float = 1.0
) -> list[dict[str, object]]:
    """Parameters that learn, with the share of the learning rate that each gets.

    The encoder's deepest level gets all of it, every shallower level `layer_decay` of the one
    below it, the head `head_rate`, its attention `attention_rate`; frozen levels are left out.
    """
    stages = network.encoder.stages()
    rates: list[tuple[float, list[nn.Module]]] = [
        (head_rate, [network.head]),
        (attention_rate, [network.attention]),
    ]
    for depth, modules in enumerate(stages):
        if depth >= network.frozen_levels:
            rates.append((layer_decay ** (len(stages) - 1 - depth), modules))
    groups: list[dict[str, object]] = []
    for rate, modules in rates:
        parameters = [parameter for module in modules for parameter in module.parameters()]
        if parameters:
            groups.append({"params": parameters, "rate_scale": rate})
    return groups


def in_batches(frames: NDArray[np.uint16], device: torch.device) -> Iterator[torch.Tensor]:
    """Frames (N, [D,] H, W) as network units (n, 1, [D,] H, W), of a bounded number of pixels."""
    size = min(_MOST_FRAMES, max(1, _MOST_PIXELS // math.prod(frames.shape[1:])))
    for first in range(0, len(frames), size):
        stored = torch.from_numpy(frames[first : first + size])
        yield unit_from_frames(stored.to(device))[:, None]
