"""A few real steps of a run, taken on a copy: what they cost, before the run takes any."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils.data import Dataset, Subset

from covidssl.errors import UsageError
from covidssl.rehearsal.memory import Gauge
from covidssl.training import (
    Machines,
    Process,
    Task,
    TrainingPlan,
    TrainingState,
    loader,
    make_fabric,
    train,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_TIMED_STEPS = 4
_SAID_OF_A_TENSOR = 120
"""Bytes of a tensor's name, kind, shape and place in a file's header."""

_FULL_STEPS = 2
"""In the second one the optimiser's own state and the moving average are there as well."""


_ALONE = (
    "--dry-run and --batch-size auto try one process: give them to the plain command, without "
    "torchrun or srun, with --devices and --nodes as the run will have them."
)


@dataclass(frozen=True)
class Trial:
    """What a run is made of: the very parts that the training loop will be given.

    Attributes:
        fabric: device and precision.
        state: the first one; steps are taken on a copy, and it stays as it is.
        data: pictures.
        task: the pretext, or the diagnosis.
        plan: steps, batch, rate.
        seed: of the run.
        processes: that will share each batch; one of them is tried, with its part.
    """

    fabric: Fabric
    state: TrainingState
    data: Dataset[Any]
    task: Task[Any]
    plan: TrainingPlan
    seed: int
    processes: int = 1

    @property
    def share(self) -> int:
        """Pictures a step of one process.

        Raises:
            UsageError: when a batch cannot be dealt evenly.
        """
        return len(Process(0, self.processes).share(self.plan.batch_size))

    @property
    def pictures(self) -> int:
        """In the data."""
        return pictures_in(self.data)


class Tried(NamedTuple):
    """What some steps cost.

    Attributes:
        memory_bytes: at the peak, above what was taken before; the network is in it.
        seconds: of each step, the first one too.
        state: after them.
    """

    memory_bytes: int
    seconds: tuple[float, ...]
    state: TrainingState


def try_steps(trial: Trial) -> Tried:
    """Take a few steps as the run will take them.

    Raises:
        torch.OutOfMemoryError: when the device has not enough memory.
        NonFiniteLossError: when the loss is not finite.
    """
    plan = trial.plan.model_copy(update={"batch_size": trial.share})
    return _try(trial, plan, 1 + _TIMED_STEPS)


def memory_of(trial: Trial, batch_size: int, accumulate: int | None = None) -> int:
    """Bytes at the peak of a step with another batch; data are read in this process.

    Raises:
        torch.OutOfMemoryError: when the device has not enough memory.
    """
    # One batch is enough; where there are fewer pictures, they are taken again.
    few = Subset(trial.data, [place % trial.pictures for place in range(batch_size)])
    change = {
        "batch_size": batch_size,
        "accumulate": accumulate or trial.plan.accumulate,
        "workers": 0,
        "compile": False,  # it would take minutes for every size, and takes no more memory
        "steps": _FULL_STEPS,
    }
    plan = trial.plan.model_copy(update=change)
    aside = Trial(trial.fabric, trial.state, few, trial.task, plan, trial.seed)
    return _try(aside, plan, _FULL_STEPS).memory_bytes


def _try(trial: Trial, plan: TrainingPlan, steps: int) -> Tried:
    gauge = Gauge(trial.fabric.device)
    state = copy.deepcopy(trial.state)
    state.step = 0
    batches = loader(trial.data, trial.pictures, plan, trial.seed, state.step)
    seconds = []
    began = time.perf_counter()
    for _report in islice(train(trial.fabric, state, batches, trial.task, plan, trial.seed), steps):
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
    return Tried(gauge.peak_bytes(), tuple(seconds), state)


def one_process(machines: Machines | str, precision: str) -> tuple[Fabric, int]:
    """One process on its own to try steps in, and how many of its kind will share a batch.

    Raises:
        UsageError: under `torchrun` or SLURM, which start all processes of a run.
    """
    wanted = Machines(machines) if isinstance(machines, str) else machines
    if torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
        raise UsageError(_ALONE)
    fabric = make_fabric(wanted.device, precision)
    if fabric.world_size > 1:
        raise UsageError(_ALONE)
    here = torch.cuda.device_count() if fabric.device.type == "cuda" else 1
    return fabric, wanted.nodes * (here if wanted.devices == "auto" else wanted.devices)


def pictures_in(data: Dataset[Any]) -> int:
    """How many pictures a dataset holds."""
    return len(data)  # type: ignore[arg-type]  # every dataset of ours has a length


def seconds_a_step(seconds: Sequence[float]) -> float:
    """Mean over all steps but the first, in which much is made ready for the others."""
    later = seconds[1:] or seconds
    return sum(later) / len(later)


def bytes_of(state: TrainingState) -> int:
    """Of a checkpoint's file: weights, moving average, optimiser, and what is said of each."""
    optimizer = state.optimizer.state_dict()["state"].values()
    tensors = [
        *state.network.state_dict().values(),
        *(state.ema or {}).values(),
        *(torch.as_tensor(value) for entries in optimizer for value in entries.values()),
    ]
    return sum(_SAID_OF_A_TENSOR + t.numel() * t.element_size() for t in tensors)
