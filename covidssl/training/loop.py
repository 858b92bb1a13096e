"""One training loop for the pretext and for fine-tuning, on Lightning Fabric."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch.utils.data import DataLoader

from covidssl.errors import TrainingError
from covidssl.training.coming import Coming
from covidssl.training.plan import TrainingPlan
from covidssl.training.processes import mean_over_processes
from covidssl.training.state import TrainingState
from covidssl.training.tasks import Examples, Task
from covidssl.training.wrapping import Wrapped, wrap

if TYPE_CHECKING:
    from lightning_fabric import Fabric

B = TypeVar("B")


class StepReport(NamedTuple):
    """One optimiser step: its number from 1, loss, parts, learning rate and speed.

    Loss, parts and speed are those of the whole batch, of all processes together.
    """

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

    The caller decides when to log, validate, save and stop. Every process of `fabric` must come
    here with its own part of the batches, and take every step.

    Raises:
        NonFiniteLossError: before the step is taken.
    """
    worker = wrap(fabric, state, plan)
    coming = Coming(fabric, batches, task, state.step)
    began = time.perf_counter()
    examples = coming.make_next()
    while examples is not None:
        coming.wait_for(examples)
        rate = _set_rate(worker, plan)
        pictures = len(examples[0]) * fabric.world_size
        queued = _backward(worker, task, examples, plan.accumulate)
        examples = coming.make_next()
        loss, parts, norm = _measured(worker, queued, plan)
        if not (math.isfinite(loss) and (worker.has_scaler or math.isfinite(norm))):
            raise NonFiniteLossError(state.step, seed)
        worker.step()
        _average(state, plan)
        seconds = time.perf_counter() - began
        yield StepReport(state.step, loss, parts, rate, pictures / seconds)
        began = time.perf_counter()


class _Queued(NamedTuple):
    """Losses of the pieces of a batch, which a GPU may still be computing, and their shares."""

    names: list[str]
    losses: list[torch.Tensor]
    shares: list[float]


def _set_rate(worker: Wrapped, plan: TrainingPlan) -> float:
    worker.network.train()
    rate = plan.rate_at(worker.state.step)
    for group in worker.optimizer.param_groups:
        group["lr"] = rate * group.get("rate_scale", 1.0)
    return rate


def _backward(worker: Wrapped, task: Task[B], examples: Examples, accumulate: int) -> _Queued:
    pictures = len(examples[0])
    size = math.ceil(pictures / accumulate)
    queued = _Queued([], [], [])
    for first in range(0, pictures, size):
        piece = type(examples)(*(tensor[first : first + size] for tensor in examples))
        share = len(piece[0]) / pictures
        more = first + size < pictures
        # Gradients are added up here, and exchanged between processes once a step.
        with worker.fabric.no_backward_sync(worker.network, enabled=more):
            losses = task.loss(worker.network, piece)
            worker.fabric.backward(losses.total * share)
        parts = {"loss": losses.total, **losses.parts}
        queued.names[:] = parts
        queued.losses.append(torch.stack([part.detach().float() for part in parts.values()]))
        queued.shares.append(share)
    return queued


def _measured(
    worker: Wrapped, queued: _Queued, plan: TrainingPlan
) -> tuple[float, dict[str, float], float]:
    """Loss and parts, means over all processes, and the norm of the gradient, which is clipped."""
    limit = float("inf") if plan.gradient_clip is None else plan.gradient_clip
    norm = worker.fabric.clip_gradients(
        worker.network, worker.optimizer, max_norm=limit, error_if_nonfinite=False
    )
    norm = torch.zeros(()) if norm is None else norm.detach()
    # Read at once: each reading waits for the GPU.
    *pieces, norms = torch.stack(
        [*queued.losses, norm.to(queued.losses[0]).expand(len(queued.names))]
    ).tolist()
    here = [0.0] * len(queued.names)
    for piece, share in zip(pieces, queued.shares, strict=True):
        here = [total + value * share for total, value in zip(here, piece, strict=True)]
    loss, *parts = mean_over_processes(worker.fabric, here)
    return loss, dict(zip(queued.names[1:], parts, strict=True)), norms[0]


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
