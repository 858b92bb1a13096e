"""One training loop for the pretext and for fine-tuning, on Lightning Fabric."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from covidssl.errors import TrainingError, UsageError
from covidssl.randomness import numpy_generator

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_ORDER_STREAM = 1
Examples = Any  # a NamedTuple of tensors, each with the pictures along its first axis
B = TypeVar("B")
B_contra = TypeVar("B_contra", contravariant=True)


class TrainingPlan(BaseModel):
    """How a network is trained.

    Attributes:
        steps: optimiser steps in all.
        batch_size: pictures a step, however they are accumulated.
        learning_rate: highest rate; every group of parameters scales it.
        weight_decay: of AdamW.
        warmup_steps: steps over which the rate rises linearly, before it falls by a cosine to 0.
        accumulate: parts in which a batch goes through the network; changes memory, not the result.
        gradient_clip: largest norm of the gradient; None for no limit.
        ema_decay: of the exponential moving average of the weights; None for none.
        precision: `32-true`, or `bf16-mixed` where the device has it.
        workers: processes that read; the result does not depend on their number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(1000, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    warmup_steps: int = Field(50, ge=0)
    accumulate: int = Field(1, ge=1)
    gradient_clip: float | None = Field(1.0, gt=0)
    ema_decay: float | None = Field(None, gt=0, lt=1)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    workers: int = Field(0, ge=0)

    def rate_at(self, step: int) -> float:
        """Learning rate of optimiser step `step` (from 0): linear warm-up, then a cosine to 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


class Losses(NamedTuple):
    """The loss that is minimised, a mean over pictures, and the parts worth writing down."""

    total: torch.Tensor
    parts: Mapping[str, torch.Tensor]


class Task(Protocol[B_contra]):
    """What is learnt: the pretext, or the diagnosis; `parts` names the parts of its loss."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of the loss."""

    def examples(self, batch: B_contra, step: int) -> Examples:
        """What the network learns from, on the batch's device; draws are keyed by `step`."""

    def loss(self, network: nn.Module, examples: Examples) -> Losses:
        """The loss, a mean over the pictures of `examples`, so that a batch may come in parts."""


class StepReport(NamedTuple):
    """One optimiser step: its number from 1, loss, parts, learning rate and speed."""

    step: int
    loss: float
    parts: dict[str, float]
    learning_rate: float
    images_per_second: float


class NonFiniteLossError(TrainingError):
    """The loss or its gradient is not finite; `step` and `seed` make the batch again."""

    def __init__(self, step: int, seed: int) -> None:
        super().__init__(
            f"The loss or gradient of step {step} is not finite. Its batch is made again by seed "
            f"{seed} and step {step}. Lower training.learning_rate, or look for NaN pictures."
        )
        self.step = step
        self.seed = seed


@dataclass
class TrainingState:
    """All that a run must keep to go on: network, optimiser, moving average, steps done."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    ema: dict[str, torch.Tensor] | None = field(default=None)

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights worth keeping: the moving average where there is one."""
        return {
            name: tensor.detach().contiguous()
            for name, tensor in (self.ema or self.network.state_dict()).items()
        }


class StepBatches(Sampler[list[int]]):
    """Indices of every step's batch, keyed by (seed, epoch): no picture twice in an epoch.

    A batch depends on (seed, step) alone, so a resumed run sees what the first would have seen.
    """

    def __init__(self, pictures: int, plan: TrainingPlan, seed: int, start: int) -> None:
        if pictures < 1:
            raise TrainingError("There is no picture to train on.")
        self.pictures, self.plan, self.seed, self.start = pictures, plan, seed, start
        self._epoch, self._permutation = -1, np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return self.plan.steps - self.start

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.plan.steps):
            first = step * self.plan.batch_size
            yield [self._index(place) for place in range(first, first + self.plan.batch_size)]

    def _index(self, place: int) -> int:
        epoch, within = divmod(place, self.pictures)
        return int(self._order(epoch)[within])

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if self._epoch != epoch:
            generator = numpy_generator(self.seed, _ORDER_STREAM, epoch)
            self._epoch, self._permutation = epoch, generator.permutation(self.pictures)
        return self._permutation


def make_fabric(device: str, precision: str) -> Fabric:
    """Lightning Fabric on one device.

    Args:
        device: `auto`, `cpu` or `cuda`.
        precision: as in `TrainingPlan`.

    Raises:
        UsageError: when there is no such device here.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: expected auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch sees no CUDA device here; use --device cpu.")
    from lightning_fabric import Fabric  # takes seconds: not before there is something to train

    if device == "auto":  # Fabric's own choice would also be a TPU or MPS, which are not tried
        device = "cuda" if torch.cuda.is_available() else "cpu"
    fabric = Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]
    if fabric.device.type == "cpu":
        _keep_freed_memory()
    return fabric


def _keep_freed_memory() -> None:
    """Let glibc keep large blocks that were freed, instead of giving them back and asking again.

    A step frees and asks for the same feature maps over and over; fresh pages cost as much as the
    arithmetic on them (a training step took 1.4 times as long on a CPU). Elsewhere: no effect.
    """
    mmap_threshold, trim_threshold = -3, -1
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return
    libc.mallopt(mmap_threshold, 2**30)
    libc.mallopt(trim_threshold, 2**31 - 1)


def loader(
    pictures: Dataset[B], count: int, plan: TrainingPlan, seed: int, start: int
) -> DataLoader[B]:
    """Batches from step `start` on; pictures must not draw at random themselves."""
    sampler = StepBatches(count, plan, seed, start)
    return DataLoader(
        pictures,
        batch_sampler=sampler,
        num_workers=plan.workers,
        # The default one would be drawn from the global generator.
        generator=torch.Generator().manual_seed(0),
        pin_memory=torch.cuda.is_available(),
    )


def train(
    fabric: Fabric,
    state: TrainingState,
    batches: DataLoader[B],
    task: Task[B],
    plan: TrainingPlan,
    seed: int,
) -> Iterator[StepReport]:
    """Take one optimiser step a batch, and yield its report.

    The caller decides when to log, validate, save and stop.

    Raises:
        NonFiniteLossError: before the step is taken.
    """
    network, optimizer = fabric.setup(state.network, state.optimizer)
    began = time.perf_counter()
    for batch in batches:
        network.train()
        rate = plan.rate_at(state.step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("rate_scale", 1.0)
        examples = task.examples(fabric.to_device(batch), state.step)
        loss, parts = _backward(fabric, network, task, examples, plan.accumulate)
        limit = float("inf") if plan.gradient_clip is None else plan.gradient_clip
        norm = fabric.clip_gradients(network, optimizer, max_norm=limit, error_if_nonfinite=False)
        if not (math.isfinite(loss) and math.isfinite(float(norm or 0.0))):
            raise NonFiniteLossError(state.step, seed)
        optimizer.step()
        optimizer.zero_grad()
        state.step += 1
        _average(state, plan)
        now = time.perf_counter()
        yield StepReport(state.step, loss, parts, rate, len(batch[0]) / (now - began))
        began = time.perf_counter()


def _backward(
    fabric: Fabric, network: nn.Module, task: Task[B], examples: Examples, accumulate: int
) -> tuple[float, dict[str, float]]:
    pictures = len(examples[0])
    loss, parts = 0.0, dict[str, float]()
    size = math.ceil(pictures / accumulate)
    for first in range(0, pictures, size):
        piece = type(examples)(*(tensor[first : first + size] for tensor in examples))
        share = len(piece[0]) / pictures
        losses = task.loss(network, piece)
        fabric.backward(losses.total * share)
        loss += float(losses.total.detach()) * share
        for name, part in losses.parts.items():
            parts[name] = parts.get(name, 0.0) + float(part.detach()) * share
    return loss, parts


def _average(state: TrainingState, plan: TrainingPlan) -> None:
    if plan.ema_decay is None:
        return
    weights = {name: tensor.detach() for name, tensor in state.network.state_dict().items()}
    if state.ema is None:
        state.ema = {name: tensor.clone() for name, tensor in weights.items()}
        return
    # The average of the first steps would otherwise keep the random start for long.
    decay = min(plan.ema_decay, (1 + state.step) / (10 + state.step))
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            state.ema[name].lerp_(tensor, 1 - decay)
        else:
            state.ema[name].copy_(tensor)
