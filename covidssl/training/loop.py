"""One training loop for the pretext and for fine-tuning, on Lightning Fabric."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from torch import nn
from torch.utils.data import DataLoader

from covidssl.errors import TrainingError
from covidssl.training.plan import TrainingPlan
from covidssl.training.state import TrainingState
from covidssl.training.tasks import Examples, Share, Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

B = TypeVar("B")


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
        share = Share(state.step, 0, len(batch[0]))
        examples = task.examples(fabric.to_device(batch), share)
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
