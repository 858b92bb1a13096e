"""The whole of a learning run, and its ends: done, early, stopped, failed."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset
from torch.utils.tensorboard import SummaryWriter

from covidssl.errors import EndedElsewhereError, StoppedError
from covidssl.files import write_json
from covidssl.learning.books import Books
from covidssl.learning.keeping import Keeping, Notes
from covidssl.rehearsal import saying_what_fits
from covidssl.training import (
    NonFiniteLossError,
    StepReport,
    StopSignals,
    Task,
    TrainingPlan,
    TrainingState,
    largest_over_processes,
    loader,
    process_of,
    train,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)

OnStep = Callable[[StepReport, Notes, SummaryWriter], bool | None]

STOPPED_EARLY = "stopped_early"
"""The note of the step at which `on_step` ended the run before the end of its plan."""


@dataclass(frozen=True)
class Learning:
    """What is trained, on what, by which plan, and where the books are kept.

    Attributes:
        out: the run folder.
        fabric: devices, processes and precision.
        data: pictures, without draws of their own.
        task: the pretext, or the diagnosis.
        plan: steps, batch, rate.
        seed: of the run.
        checkpoint_every: steps between checkpoints.
    """

    out: Path
    fabric: Fabric
    data: Dataset[Any]
    task: Task[Any]
    plan: TrainingPlan
    seed: int
    checkpoint_every: int


@saying_what_fits
def learn(
    what: Learning, state: TrainingState, on_step: OnStep, first: Callable[[Notes], None]
) -> Notes:
    """Train to the end of the plan, from the newest checkpoint in `out` if there is one.

    Of several processes the first one keeps the books and the checkpoints and calls the hooks; the
    others take their share of every step.

    Args:
        what: to train.
        state: network and optimiser; a checkpoint is loaded into it.
        on_step: called after each step with its report, the notes that a checkpoint keeps, and
            the TensorBoard writer. Where it returns True the run ends well there, and the notes
            carry `stopped_early`.
        first: called before the first step with the notes, where there is no checkpoint.

    Returns:
        The notes.

    Raises:
        NonFiniteLossError: after `nonfinite.json` was written, which makes the batch again.
        StoppedError: when a signal asked for it, after the step at hand and a checkpoint.
        EndedElsewhereError: in the other processes, when the first one raises one of these.
        NoRoomError: when the disk is full.
        TrainingError: when the device has not enough memory; it says which batch would fit.
    """
    fabric, plan = what.fabric, what.plan
    keeping = Keeping(what.out, fabric, state, plan, what.checkpoint_every)
    with StopSignals() as signals:
        notes = keeping.begin(first)
        if STOPPED_EARLY in notes:
            return notes
        parts = tuple(what.task.parts)
        mine = fabric.is_global_zero
        with Books(what.out, parts, state.step, plan.steps) if mine else nullcontext() as books:
            for report in _steps(what, state):
                early = False
                if books is not None:
                    books.write(report)
                    early = bool(on_step(report, notes, books.board))
                    books.show(report)
                # What one process was told, or wants, all of them do.
                caught, ended = largest_over_processes(fabric, signals.caught, int(early))
                if ended:
                    notes[STOPPED_EARLY] = float(report.step)
                if caught or ended or keeping.is_due():
                    keeping.save(notes)
                if caught:
                    raise _stopped(what, caught, state.step)
                if ended:
                    log.info("%s: ended early, at step %d.", what.out.name, report.step)
                    break
    return notes


def _steps(what: Learning, state: TrainingState) -> Iterator[StepReport]:
    """The reports of the steps to come; a step that cannot be taken is written down."""
    count = len(what.data)  # type: ignore[arg-type]  # every dataset of ours has a length
    batches = loader(what.data, count, what.plan, what.seed, state.step, process_of(what.fabric))
    try:
        yield from train(what.fabric, state, batches, what.task, what.plan, what.seed)
    except NonFiniteLossError as error:
        if not what.fabric.is_global_zero:
            raise EndedElsewhereError(str(error)) from error
        write_json(what.out / "nonfinite.json", {"step": error.step, "seed": error.seed})
        raise


def _stopped(what: Learning, caught: int, step: int) -> StoppedError | EndedElsewhereError:
    text = (
        f"{what.out}: stopped by {signal.Signals(caught).name} after step {step}, of which there "
        f"is a checkpoint. Go on with --resume."
    )
    what.fabric.barrier()  # none ends before the checkpoint is written
    if what.fabric.is_global_zero:
        return StoppedError(text, caught)
    return EndedElsewhereError(text)
