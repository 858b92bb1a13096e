"""Scans as bags of slices: what a head with attention learns from, all slices of a scan at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset

from covidssl.diagnosis import LabelTask, weighted_entropy
from covidssl.training import Losses, Share


class BagBatch(NamedTuple):
    """A batch of labelled scans.

    Attributes:
        frames: (B, K, 1, H, W) uint16; K is the largest number of slices of any scan, and places
            that a smaller scan leaves are 0.
        mask: (B, K) bool, whether there is a slice.
        target: (B,) float32 of 0 and 1.
    """

    frames: torch.Tensor
    mask: torch.Tensor
    target: torch.Tensor


class BagExamples(NamedTuple):
    """What the classifier learns from: unit (B, K, 1, H, W), mask (B, K), target, weight (B,)."""

    unit: torch.Tensor
    mask: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor


class ScansInMemory(Dataset[BagBatch]):
    """Labelled scans as a dataset, each a bag of its slices."""

    def __init__(
        self,
        frames: NDArray[np.uint16],
        places: list[NDArray[np.int64]],
        target: NDArray[np.int64],
    ) -> None:
        """Bags of `frames` (N, H, W): the `places` in it, and the class (S,), of each scan."""
        self.frames, self.places, self.target = frames, places, target
        self.most = max(len(of_scan) for of_scan in places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> BagBatch:
        places = self.places[index]
        bag = np.zeros((self.most, 1, *self.frames.shape[1:]), dtype=np.uint16)
        bag[: len(places), 0] = self.frames[places]
        return BagBatch(
            torch.from_numpy(bag),
            torch.arange(self.most) < len(places),
            torch.tensor(self.target[index], dtype=torch.float32),
        )


class BagTask(LabelTask):
    """Fine-tuning on scans as the training loop sees it.

    One augmentation is drawn a scan and all its slices are moved and windowed alike, as they are
    when a patient lies otherwise.
    """

    def examples(self, batch: BagBatch, share: Share) -> BagExamples:
        """Augmented scans of one step."""
        # Slices as channels: a draw moves all channels of a picture alike.
        unit = self.seen(batch.frames[:, :, 0], share)[:, :, None]
        return BagExamples(unit, batch.mask, batch.target, self.weight(batch.target))

    def loss(self, network: nn.Module, examples: BagExamples) -> Losses:
        """Weighted cross-entropy of the scans' logits."""
        logits = network(examples.unit, examples.mask)
        return weighted_entropy(logits, examples.target, examples.weight)
