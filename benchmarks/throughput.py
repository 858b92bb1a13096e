"""Pretraining as it runs: data path alone, network alone, both; and a plain MONAI script."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from statistics import median
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.monai_script import How, MonaiScript
from benchmarks.overhead import clean_slices
from benchmarks.rows import Bar, Device, Pair, Row, row
from benchmarks.timing import Contender, interleaved
from covidssl.frames import Frame
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.pretext import CleanSlices, PerlinPretext, RestorationBatch, Setting
from covidssl.randomness import initial_weights
from covidssl.training import (
    Losses,
    Share,
    StepReport,
    Task,
    TrainingPlan,
    TrainingState,
    loader,
    make_fabric,
    train,
)

_WHOLE_BAR = 0.95
_PEER_BAR = 2.5
_CORES_OF_THE_BAR = 16
_PEAK_TFLOPS = 989.0
"""Dense bfloat16 of an H200 with 700 W, without sparsity, by NVIDIA's data sheet."""

_MANY_STEPS = 10**6


class Case(NamedTuple):
    """One training, and how long it is looked at.

    Attributes:
        kind: of the encoder.
        pixels: edge of a frame.
        batch: pictures a step.
        precision: of the training.
        compiled: whether the network goes through `torch.compile`.
        rounds: in which each contender has its turn.
        steps: of a turn against the script.
    """

    kind: Literal["unet", "resnet50"]
    pixels: int
    batch: int
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compiled: bool = False
    rounds: int = 9
    steps: int = 6

    @property
    def name(self) -> str:
        """As it stands in a row."""
        how = ["bf16"] * (self.precision == "bf16-mixed") + ["compiled"] * self.compiled
        parts = [f"{self.kind} U-Net", f"{self.pixels} px", f"batch {self.batch}", *how]
        return ", ".join(parts)


_CPU = Case("unet", 128, 32)
_CUDA = Case("resnet50", 224, 64, "bf16-mixed", compiled=True, rounds=9, steps=100)
_TINY = Case("unet", 32, 2, rounds=2, steps=2)


class InMemory(Dataset[CleanSlices]):
    """Clean slices one by one, as a store gives them once they are cut."""

    def __init__(self, slices: CleanSlices) -> None:
        self.slices = slices

    def __len__(self) -> int:
        return len(self.slices.frames)

    def __getitem__(self, index: int) -> CleanSlices:
        return CleanSlices(*(part[index] for part in self.slices))


class Ready:
    """The pretext with one batch that is made already: what is left is the network's work."""

    def __init__(self, task: Task[CleanSlices], examples: RestorationBatch) -> None:
        self.task, self.examples_ = task, examples
        self.parts = task.parts

    def examples(self, _batch: CleanSlices, _share: Share) -> RestorationBatch:
        """Always the same."""
        return self.examples_

    def loss(self, network: nn.Module, examples: RestorationBatch) -> Losses:
        """The pretext's."""
        return self.task.loss(network, examples)


class Training:
    """The training of a case, as `covidssl pretrain` does it, on slices of phantom chests."""

    def __init__(self, case: Case, device: Device) -> None:
        self.case, self.pretext = case, PerlinPretext()
        self.fabric = make_fabric(device, case.precision)
        self.encoder = EncoderPlan(kind=case.kind)
        self.slices = clean_slices(case.batch, case.pixels)
        self.plan = TrainingPlan(
            steps=_MANY_STEPS,
            batch_size=case.batch,
            precision=case.precision,
            compile=case.compiled,
            learning_rate=1e-4,
        )
        setting = Setting(Frame().window_hu, len(self.network().encoder.channels), 0)
        self.task = self.pretext.task(setting)

    def network(self) -> Any:
        """The restoration network with its first weights."""
        with initial_weights(0):
            return self.pretext.network(build_encoder(self.encoder)).to(self.fabric.device)

    def whole(self) -> Iterator[StepReport]:
        """Steps of the real loop."""
        data = InMemory(self.slices)
        batches = loader(data, len(data), self.plan, 0, 0)
        return train(self.fabric, self._state(), batches, self.task, self.plan, 0)

    def network_alone(self) -> Iterator[StepReport]:
        """Steps of the real loop on a batch that is on the device, lesions and all."""
        slices = CleanSlices(*(self.fabric.to_device(part) for part in self.slices))
        share = Share(0, 0, self.case.batch)
        ready = Ready(self.task, self.task.examples(slices, share))
        batches: Any = repeat(slices)
        return train(self.fabric, self._state(), batches, ready, self.plan, 0)

    def data_alone(self) -> Iterator[RestorationBatch]:
        """Examples as the real loop gets them, and nothing that learns from them."""
        data = InMemory(self.slices)
        for step, batch in enumerate(loader(data, len(data), self.plan, 0, 0)):
            share = Share(step, 0, self.case.batch)
            yield self.task.examples(self.fabric.to_device(batch), share)

    def flop(self) -> int:
        """Floating-point operations of a step, counted once, forwards and backwards."""
        slices = CleanSlices(*(self.fabric.to_device(part) for part in self.slices))
        examples = self.task.examples(slices, Share(0, 0, self.case.batch))
        network = self.fabric.setup_module(self.network())
        counter = FlopCounterMode(display=False)
        with counter:
            self.fabric.backward(self.task.loss(network, examples).total)
        return counter.get_total_flops()

    def script(self) -> MonaiScript:
        """The same job as a plain MONAI script, with a worker a core."""
        network = self.network()
        if self.case.compiled:
            network.compile()
        device = self.fabric.device.type
        half = self.case.precision == "bf16-mixed"
        how = How(device, self.case.batch, _workers(device), half)
        return MonaiScript(self.slices, network, self.pretext.loss, how)

    def _state(self) -> TrainingState:
        network = self.network()
        return TrainingState(network, torch.optim.AdamW(network.parameters(), lr=1e-4))


def run(device: Device, quick: bool) -> tuple[list[Row], tuple[int, ...]]:
    """All rows of a device, and the number of threads, which is what training uses."""
    case = _TINY if quick else _CUDA if device == "cuda" else _CPU
    wait: Callable[[], object] = (
        torch.cuda.synchronize if device == "cuda" else torch.get_num_threads
    )
    training = Training(case, device)
    rows = _parts(training, device, quick, wait)
    rows.append(_against_the_script(training, device, quick, wait))
    return rows, (torch.get_num_threads(),)


def _parts(
    training: Training, device: Device, quick: bool, wait: Callable[[], object]
) -> list[Row]:
    case = training.case
    ways: dict[str, Iterator[object]] = {
        "both": training.whole(),
        "network": training.network_alone(),
        "data": training.data_alone(),
    }
    contenders = [
        Contender(name, lambda way=way: next(way), case.batch)  # type: ignore[misc]
        for name, way in ways.items()
    ]
    least_s = 1.0 if device == "cuda" and not quick else 0.0
    seconds = interleaved(contenders, case.rounds, least_s, wait)
    rates = {name: [1 / number for number in found] for name, found in seconds.items()}
    slower = min(("network", "data"), key=lambda name: median(rates[name]))
    name = f"{case.name}: data and network"
    rows = [
        row(
            name,
            "images/s",
            Pair(rates["both"], rates[alone], more_is_better=True),
            f"{alone} alone",
            Bar("at least", _WHOLE_BAR if alone == slower and not quick else None),
            device,
        )
        for alone in ("network", "data")
    ]
    if device == "cuda":
        rows.append(_share_of_peak(training, rates["both"], device))
    return rows


def _share_of_peak(training: Training, rates: list[float], device: Device) -> Row:
    tera = training.flop() / training.case.batch / 1e12
    reached = [rate * tera for rate in rates]
    pair = Pair(reached, [_PEAK_TFLOPS] * len(reached), more_is_better=True)
    name = f"{training.case.name}: operations of convolutions and products"
    return row(name, "TFLOP/s", pair, "peak of an H200, data sheet", Bar("at least"), device)


def _against_the_script(
    training: Training, device: Device, quick: bool, wait: Callable[[], object]
) -> Row:
    case, script, ours = training.case, training.script(), training.whole()
    pictures = case.steps * case.batch
    next(ours)
    rates: dict[str, list[float]] = {"ours": [], "script": []}
    for turn in range(case.rounds):
        for name in ("ours", "script")[:: 1 if turn % 2 == 0 else -1]:
            took = (
                _timed(ours, case.steps, wait) if name == "ours" else script.steps(case.steps, wait)
            )
            rates[name].append(pictures / took)
    judged = not quick and device == "cuda" and _is_the_machine_of_the_bar()
    return row(
        f"{case.name}: against a script",
        "images/s",
        Pair(rates["ours"], rates["script"], more_is_better=True),
        f"plain MONAI script, {_workers(device)} workers",
        Bar("at least", _PEER_BAR if judged else None),
        device,
    )


def _workers(device: str) -> int:
    """One a core that this process may use; on a CPU the network is left one of several."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return cores if device == "cuda" else max(1, cores - 1)


def _timed(steps: Iterator[object], count: int, wait: Callable[[], object]) -> float:
    wait()
    began = time.perf_counter()
    for _ in range(count):
        next(steps)
    wait()
    return time.perf_counter() - began


def _is_the_machine_of_the_bar() -> bool:
    return "H200" in torch.cuda.get_device_name() and os.cpu_count() == _CORES_OF_THE_BAR
