"""What a run will take, said before it takes anything: memory, disk, time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from torch import nn

from covidssl.files import free_disk_bytes, size_in_words
from covidssl.rehearsal.memory import free_bytes
from covidssl.rehearsal.trial import Trial, bytes_of, seconds_a_step, try_steps

_LOG_BYTES_A_STEP = 700
"""Of the tables of losses and of TensorBoard's file, as runs of a few hundred steps left them."""

_SMALL_FILES = 40_000
"""Bytes of configuration, record, cards and log."""


class Line(NamedTuple):
    """A line of what is said: what it is of, and what was found."""

    what: str
    found: str


class Products(NamedTuple):
    """What a run makes beside its checkpoints, as its verb knows.

    Attributes:
        weights_bytes: of all files of weights.
        pictures_bytes: of all pictures.
        seconds: that validations and pictures take, in the whole run.
    """

    weights_bytes: int
    pictures_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """What a run will take.

    Attributes:
        device: that it runs on.
        parameters: of the network that learns.
        trained: of them, those that change.
        batch_size: pictures a step.
        processes: that share it.
        steps: in all.
        taken: of them, before a run that is gone on with was stopped.
        memory_bytes: at the peak of a step, above what was taken before there was a network.
        memory_free_bytes: that there were on the device.
        images_per_second: of whole steps, the first one left out.
        seconds: from there to the end, with validations and pictures.
        checkpoint_bytes: of one.
        disk_bytes: of all that the run writes, at the most.
        disk_free_bytes: where it will be written.
    """

    device: str
    parameters: int
    trained: int
    batch_size: int
    processes: int
    steps: int
    taken: int
    memory_bytes: int
    memory_free_bytes: int
    images_per_second: float
    seconds: float
    checkpoint_bytes: int
    disk_bytes: int
    disk_free_bytes: int

    def lines(self) -> list[Line]:
        """As it is said to people."""
        frozen = self.parameters - self.trained
        fixed = f", {frozen:,} of them frozen" if frozen else ""
        shared, alike = "", ""
        if self.processes > 1:
            shared = f", {self.batch_size // self.processes} on each of {self.processes} devices"
            alike = ", as if exchanging gradients took no time"
        room = "" if self.memory_bytes <= self.memory_free_bytes else ": NOT ENOUGH"
        space = "" if self.disk_bytes <= self.disk_free_bytes else ": NOT ENOUGH"
        last = f"the last {self.steps - self.taken} of " if self.taken else ""
        return [
            Line("device", self.device),
            Line("parameters", f"{self.parameters:,}{fixed}"),
            Line("batch", f"{self.batch_size} pictures a step{shared}"),
            Line(
                "memory",
                f"{size_in_words(self.memory_bytes)} at the peak of a step, "
                f"{size_in_words(self.memory_free_bytes)} free{room}",
            ),
            Line("speed", f"{self.images_per_second:.3g} images/s{alike}"),
            Line("time to the end", f"{in_time(self.seconds)} for {last}{self.steps} steps"),
            Line("a checkpoint", size_in_words(self.checkpoint_bytes)),
            Line(
                "disk",
                f"{size_in_words(self.disk_bytes)} at the most, "
                f"{size_in_words(self.disk_free_bytes)} free{space}",
            ),
        ]


def forecast(trial: Trial, out: Path, products: Products, taken: int = 0) -> Forecast:
    """Take a few real steps aside and reckon from them; nothing is written.

    Args:
        trial: the run.
        out: where it will be written; it need not be there.
        products: what is made beside checkpoints.
        taken: steps that a run which is gone on with has behind it.

    Raises:
        torch.OutOfMemoryError: when the device has not enough memory.
    """
    free = free_bytes(trial.fabric.device)
    tried = try_steps(trial)
    plan, step_s = trial.plan, seconds_a_step(tried.seconds)
    checkpoint = bytes_of(tried.state)
    # A new one is whole before the oldest goes.
    disk = (
        (plan.keep_checkpoints + 1) * checkpoint + products.weights_bytes + products.pictures_bytes
    )
    return Forecast(
        device=str(trial.fabric.device),
        parameters=_count(trial.state.network.parameters()),
        trained=_count(p for p in trial.state.network.parameters() if p.requires_grad),
        batch_size=plan.batch_size,
        processes=trial.processes,
        steps=plan.steps,
        taken=taken,
        memory_bytes=tried.memory_bytes,
        memory_free_bytes=free,
        images_per_second=plan.batch_size / step_s,
        seconds=(plan.steps - taken) * step_s + products.seconds,
        checkpoint_bytes=checkpoint,
        disk_bytes=disk + _LOG_BYTES_A_STEP * plan.steps + _SMALL_FILES,
        disk_free_bytes=free_disk_bytes(out),
    )


def weights_bytes(network: nn.Module, prefix: str = "") -> int:
    """Bytes of a network's weights in a file, or of those whose names begin with `prefix`."""
    weights = network.state_dict().items()
    return sum(t.numel() * t.element_size() for name, t in weights if name.startswith(prefix))


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def in_time(seconds: float) -> str:
    """Seconds as people say them: hours, minutes, seconds."""
    if seconds < 1:
        return "less than a second"
    return str(timedelta(seconds=round(seconds)))
