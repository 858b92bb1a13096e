"""Fine-tuning: labelled frames in, a classifier out; and the linear probe that it starts from."""

from __future__ import annotations

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


class LabelledBatch(NamedTuple):
    """A batch of labelled frames: frames (B, 1, H, W) uint16, target (B,) float32 of 0 and 1."""

    frames: torch.Tensor
    target: torch.Tensor


class DiagnosisBatch(NamedTuple):
    """What the classifier learns from: unit (B, 1, H, W) float32, target (B,), weight (B,)."""

    unit: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor


class FramesInMemory(Dataset[LabelledBatch]):
    """Labelled frames as a dataset: `frames` (N, H, W) uint16, `target` (N,)."""

    def __init__(self, frames: NDArray[np.uint16], target: NDArray[np.int64]) -> None:
        self.frames, self.target = frames, target

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> LabelledBatch:
        return LabelledBatch(
            torch.from_numpy(self.frames[index][None]),
            torch.tensor(self.target[index], dtype=torch.float32),
        )


class DiagnosisTask:
    """Fine-tuning as the training loop sees it.

    Classes are weighted so that both count the same, however many frames each has.
    """

    parts = ("cross_entropy",)

    def __init__(
        self, augment: AugmentRanges, window_hu: Window, target: NDArray[np.int64], seed: int
    ) -> None:
        self.augment, self.window_hu, self.seed = augment, window_hu, seed
        positives = max(int(target.sum()), 1)
        negatives = max(len(target) - positives, 1)
        self.weights = (len(target) / (2 * negatives), len(target) / (2 * positives))

    def examples(self, batch: LabelledBatch, share: Share) -> DiagnosisBatch:
        """Augmented frames of one step, keyed by seed, step and place."""
        frames, target = batch
        generator = torch_generator(self.seed, _AUGMENT_STREAM, share.step)
        params = share.rows(sample_augment(self.augment, generator, share.drawn))
        moved = warp(unit_from_frames(frames), params)
        unit = see_through(to_hu(moved, self.window_hu), params)
        weight = torch.where(target > 0.5, self.weights[1], self.weights[0])
        return DiagnosisBatch(unit, target, weight)

    def loss(self, network: nn.Module, examples: DiagnosisBatch) -> Losses:
        """Weighted cross-entropy of the logits."""
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(
            network(examples.unit), examples.target, weight=examples.weight
        )
        return Losses(entropy, {"cross_entropy": entropy})


@torch.no_grad()
def logits_of(
    network: nn.Module, frames: NDArray[np.uint16], device: torch.device, batch_size: int = 64
) -> NDArray[np.float64]:
    """Logits (N,) of frames (N, H, W), without augmentation; none for no frames."""
    if not len(frames):
        return np.empty(0, dtype=np.float64)
    network.eval()
    found = [
        network(_unit(frames[first : first + batch_size], device)).float().cpu()
        for first in range(0, len(frames), batch_size)
    ]
    return torch.cat(found).double().numpy()


@torch.no_grad()
def pooled_features(
    network: CovidClassifier, frames: NDArray[np.uint16], device: torch.device
) -> NDArray[np.float32]:
    """Pooled features (N, F) of frames (N, H, W), before they are scaled."""
    network.eval()
    found = [
        network.pooled(_unit(frames[first : first + 64], device)).float().cpu()
        for first in range(0, len(frames), 64)
    ]
    return torch.cat(found).numpy()


def start_from_probe(
    network: CovidClassifier,
    train: tuple[NDArray[np.float32], NDArray[np.int64]],
    validation: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> float:
    """Fit a linear probe on pooled features, and let the head start from it.

    A head that starts at random would, in its first steps, wash out what the encoder has learnt
    (Kumar et al., ICLR 2022). The probe's strength is the one of least validation loss.

    Args:
        network: its feature scale and head are set.
        train: features (N, F) and target (N,).
        validation: the same of the validation split.

    Returns:
        The validation loss of the probe.
    """
    mean, scale = train[0].mean(0), train[0].std(0)
    scale = np.where(scale > 1e-6, scale, 1.0)
    best: tuple[float, LogisticRegression] | None = None
    for strength in _PROBE_STRENGTHS:
        probe = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
        probe.fit((train[0] - mean) / scale, train[1])
        chance = probe.predict_proba((validation[0] - mean) / scale)[:, 1]
        loss = float(log_loss(validation[1], chance, labels=[0, 1]))
        if best is None or loss < best[0]:
            best = (loss, probe)
    if best is None:
        raise ValueError("No probe strength was tried.")
    network.set_feature_scale(torch.from_numpy(mean), torch.from_numpy(scale))
    network.set_head(
        torch.from_numpy(best[1].coef_[0].astype(np.float32)),
        torch.tensor(best[1].intercept_[0], dtype=torch.float32),
    )
    return best[0]


def parameter_groups(
    network: CovidClassifier, head_rate: float, layer_decay: float
) -> list[dict[str, object]]:
    """Parameters with the share of the learning rate that each gets.

    The encoder's deepest level gets all of it, every shallower level `layer_decay` of the one
    below it, and the head `head_rate`.
    """
    groups: list[dict[str, object]] = [
        {"params": list(network.head.parameters()), "rate_scale": head_rate}
    ]
    stages = network.encoder.stages()
    for depth, modules in enumerate(stages):
        scale = layer_decay ** (len(stages) - 1 - depth)
        parameters = [parameter for module in modules for parameter in module.parameters()]
        groups.append({"params": parameters, "rate_scale": scale})
    return groups


def _unit(frames: NDArray[np.uint16], device: torch.device) -> torch.Tensor:
    return unit_from_frames(torch.from_numpy(frames).to(device))[:, None]
