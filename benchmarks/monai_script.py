"""The same pretraining as a plain MONAI script: lesions are made in the workers of its DataLoader.

It is written as MONAI's tutorials are: a `CacheDataset` of dictionaries, dictionary transforms, a
`DataLoader` with workers, a loop. The Perlin fields are those of the `noise` package, a pixel at a
time. Network, loss, optimiser and precision are given, so that only the way to the batch differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data.dataloader import DataLoader
from monai.data.dataset import CacheDataset
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import (
    RandScaleIntensityd,
    RandShiftIntensityd,
    ScaleIntensityRanged,
)
from monai.transforms.spatial.dictionary import RandAffined
from monai.transforms.transform import MapTransform, Randomizable
from monai.transforms.utility.dictionary import EnsureTyped
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import RandomSampler

from covidssl.pretext import CleanSlices, RestorationBatch, RestorationLoss

OCTAVES = 4
_CLEAN_SHARE = 0.15
_MOST_FOCI = 4


class AddPerlinLesionsd(Randomizable, MapTransform):
    """Lay foci with Perlin outlines and texture into the lungs of a slice in [0, 1].

    `clean` and `lungs` (1, H, W) give `corrupted` and `lesion` of the same shape.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with the two pictures more."""
        item = dict(data)
        clean, lungs = np.asarray(item["clean"][0]), np.asarray(item["lungs"][0]) > 0.5
        lesion = np.zeros(clean.shape)
        if lungs.any() and self.R.random() >= _CLEAN_SHARE:
            lesion = self._lesion(lungs)
        density = self.R.uniform(0.3, 0.9)
        item["corrupted"] = (clean + density * lesion * (1 - clean))[None].astype(np.float32)
        item["lesion"] = lesion[None].astype(np.float32)
        return item

    def _lesion(self, lungs: NDArray[np.bool_]) -> NDArray[np.float64]:
        height, width = lungs.shape
        rows, columns = np.mgrid[:height, :width]
        inside = np.argwhere(lungs)
        depth = np.full(lungs.shape, -1.0)
        for _ in range(self.R.randint(1, _MOST_FOCI + 1)):
            row, column = inside[self.R.randint(len(inside))]
            radius = self.R.uniform(0.04, 0.15) * height
            away = np.hypot((rows - row), (columns - column) * self.R.uniform(0.7, 1.4))
            depth = np.maximum(depth, 1 - away / radius)
        outline = depth + self._field(lungs.shape) > 0
        texture = np.clip(0.75 + 0.5 * self._field(lungs.shape), 0, 1)
        found: NDArray[np.float64] = (outline & lungs) * texture
        return found

    def _field(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        from noise import pnoise2

        cells, base = self.R.uniform(4, 10), int(self.R.randint(256))
        places = [
            (y * cells / shape[0], x * cells / shape[1])
            for y in range(shape[0])
            for x in range(shape[1])
        ]
        values = [pnoise2(y, x, OCTAVES, base=base) for y, x in places]
        return np.reshape(values, shape)


@dataclass(frozen=True)
class How:
    """How the script trains.

    Attributes:
        device: `cpu` or `cuda`.
        batch: pictures a step.
        workers: of the DataLoader.
        half: whether it computes in bfloat16 where PyTorch thinks fit.
    """

    device: str
    batch: int
    workers: int
    half: bool = False


class MonaiScript:
    """The script, with its data and its network at hand."""

    def __init__(
        self, slices: CleanSlices, network: nn.Module, loss: RestorationLoss, how: How
    ) -> None:
        self.how, self.loss = how, loss
        self.network = network.to(how.device).train()
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
        self.dataset = CacheDataset(items_of(slices), transforms(), progress=False)

    def steps(self, count: int, wait: Callable[[], object]) -> float:
        """Seconds of so many steps; the workers are started and a first step taken before.

        What the workers have made ready until then counts for the script.
        """
        pictures = (count + 1) * self.how.batch
        batches = DataLoader(
            self.dataset,
            batch_size=self.how.batch,
            sampler=RandomSampler(self.dataset, replacement=True, num_samples=pictures),
            num_workers=self.how.workers,
            pin_memory=self.how.device == "cuda",
        )
        coming = iter(batches)
        self._step(next(coming))
        wait()
        began = time.perf_counter()
        for _ in range(count):
            self._step(next(coming))
        wait()
        took = time.perf_counter() - began
        del coming  # the workers are ended after the clock was read
        return took

    def _step(self, batch: Mapping[str, torch.Tensor]) -> float:
        corrupted, clean, lesion = (
            batch[name].to(self.how.device, non_blocking=True)
            for name in ("corrupted", "clean", "lesion")
        )
        self.optimizer.zero_grad()
        with torch.autocast(self.how.device, torch.bfloat16, enabled=self.how.half):
            restored = self.network(corrupted)
            examples = RestorationBatch(corrupted, clean, lesion, torch.empty(0))
            total = self.loss.of(restored, examples).total
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        return total.item()


def items_of(slices: CleanSlices) -> list[dict[str, NDArray[np.float32]]]:
    """The slices as dictionaries: `clean` and `lungs`, (1, H, W) each."""
    frames, lungs = (part.numpy().astype(np.float32) for part in slices[:2])
    return [{"clean": one, "lungs": two} for one, two in zip(frames, lungs, strict=True)]


def transforms() -> Compose:
    """From a clean slice to an example; what is not random is done once, by the cache."""
    both = ("clean", "lungs")
    return Compose(
        [
            ScaleIntensityRanged("clean", 0, 65535, 0, 1, clip=True),
            EnsureTyped(both),
            RandAffined(
                both,
                prob=1.0,
                rotate_range=0.2,
                translate_range=4,
                scale_range=0.1,
                mode=("bilinear", "nearest"),
                padding_mode="border",
            ),
            RandScaleIntensityd("clean", factors=0.2, prob=1.0),
            RandShiftIntensityd("clean", offsets=0.1, prob=1.0),
            AddPerlinLesionsd(both),
            EnsureTyped(("clean", "corrupted", "lesion"), track_meta=False),
        ]
    )
