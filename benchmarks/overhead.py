"""What drawing lesions on the fly costs a training step: the same network, one fixed batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.rows import Bar, Device, Pair, Row, row
from benchmarks.timing import Contender, interleaved
from covidssl.box import lungs_box
from covidssl.frames import Frame, frame_mask, frame_pixels
from covidssl.hounsfield import Pixels
from covidssl.networks.unet import Restored
from covidssl.phantom import SPACING_MM, phantom_chest
from covidssl.pretext import CleanSlices, PerlinPretext, RestorationBatch, Setting, corrupt
from covidssl.randomness import initial_weights
from covidssl.training import Share, make_fabric

_BAR = 0.95
_LEVELS = 5


class Case(NamedTuple):
    """One training: the U-Net's encoder, edge of the frame in pixels, batch, precision."""

    backbone: str
    pixels: int
    batch: int
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compiled: bool = False

    @property
    def name(self) -> str:
        """As it stands in a row."""
        how = ["bf16"] * (self.precision == "bf16-mixed") + ["compiled"] * self.compiled
        parts = [f"{self.backbone} U-Net", f"{self.pixels} px", f"batch {self.batch}", *how]
        return ", ".join(parts)


_CPU = (Case("resnet18", 128, 16), Case("resnet18", 224, 16))
_CUDA = (Case("resnet50", 224, 64, "bf16-mixed", compiled=True),)
_TINY = (Case("resnet18", 64, 2),)


class UNet(nn.Module):
    """A U-Net over a ResNet, (B, 1, H, W) -> `Restored`; the network is the peers', not ours."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        from monai.networks.nets.flexible_unet import FlexibleUNet  # takes seconds

        self.network = FlexibleUNet(in_channels=1, out_channels=2, backbone=backbone)

    def forward(self, unit: torch.Tensor) -> Restored:
        change, lesion_logit = self.network(unit).split(1, dim=1)
        return Restored(unit + change, lesion_logit)


class Training:
    """Training steps as `covidssl pretrain` takes them, on one batch of clean phantom slices."""

    def __init__(self, case: Case, device: Device) -> None:
        self.fabric = make_fabric(device, case.precision)
        with initial_weights(0):
            network = UNet(case.backbone)
        if case.compiled:
            network.compile()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
        self.network, self.optimizer = self.fabric.setup(network, optimizer)
        slices = clean_slices(case.batch, case.pixels)
        self.slices = CleanSlices(*(self.fabric.to_device(part) for part in slices))
        self.plan, self.steps = PerlinPretext(), count()
        self.fixed = self.examples()

    def examples(self) -> RestorationBatch:
        """The next step's batch, its lesions drawn now."""
        share = Share(next(self.steps), 0, len(self.slices.frames))
        return corrupt(self.slices, self.plan, Setting(Frame().window_hu, _LEVELS, 0), share)[0]

    def on_the_fly(self) -> None:
        """A step on lesions that are drawn for it."""
        self._step(self.examples())

    def on_one_batch(self) -> None:
        """A step on the same batch as ever."""
        self._step(self.fixed)

    def _step(self, examples: RestorationBatch) -> None:
        self.network.train()
        losses = self.plan.loss.of(self.network(examples.corrupted), examples)
        self.fabric.backward(losses.total)
        self.optimizer.step()
        self.optimizer.zero_grad()


def clean_slices(n: int, pixels: int) -> CleanSlices:
    """Slices of phantom chests without disease, through the middle of the lungs."""
    frame = Frame(size=pixels, pixels=Pixels.HU)
    frames, lungs, sizes = [], [], []
    for seed, places in _spread(n):
        scan = phantom_chest(seed, lesions=False)
        # Both come upright, and the box is one for the whole scan as in a prepared store.
        ct, mask = np.asarray(scan.ct.array), np.asarray(scan.lungs.array) > 0
        found = lungs_box(mask)
        box = frame.box(found, *ct.shape[1:])
        frames.append(frame_pixels(ct[places], Pixels.HU, box, frame))
        lungs.append(frame_mask(mask[places], box, frame))
        size_mm = frame.pixel_mm(box, found, SPACING_MM[1:])
        sizes += [size_mm] * len(places)
    stacked = torch.from_numpy(np.concatenate(frames)), torch.from_numpy(np.concatenate(lungs))
    return CleanSlices(stacked[0][:, None], stacked[1][:, None], torch.tensor(sizes))


def _spread(n: int) -> Iterator[tuple[int, list[int]]]:
    """Seeds of phantoms and the slices that are taken of each, `n` in all."""
    middle = [5, 6, 7, 8]
    for seed in range(-(-n // len(middle))):
        yield seed, middle[: n - seed * len(middle)]


def run(device: Device, quick: bool) -> tuple[list[Row], tuple[int, ...]]:
    """All rows of a device, and the number of threads, which is what training uses."""
    cases = _TINY if quick else _CUDA if device == "cuda" else _CPU
    rounds = 2 if quick else 40 if device == "cuda" else 30
    least_s = 0.5 if device == "cuda" and not quick else 0.0
    wait: Callable[[], object] = (
        torch.cuda.synchronize if device == "cuda" else torch.get_num_threads
    )
    rows = []
    for case in cases:
        training = Training(case, device)
        steps = [
            Contender("on the fly", training.on_the_fly, case.batch),
            Contender("one batch", training.on_one_batch, case.batch),
        ]
        seconds = interleaved(steps, rounds, least_s, wait)
        rates = {name: [1 / number for number in found] for name, found in seconds.items()}
        pair = Pair(rates["on the fly"], rates["one batch"], more_is_better=True)
        bar = Bar("at least", None if quick else _BAR)
        rows.append(row(case.name, "images/s", pair, "one fixed batch", bar, device))
    return rows, (torch.get_num_threads(),)
