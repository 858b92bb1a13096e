"""The whole of a learning run, and its ends: done, early, stopped, failed."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset
from torch.utils.tensorboard import SummaryWriter

from covidssl.errors import EndedElsewhereError, StoppedError
from covidssl.files import write_json
from covidssl.learning.books import Books
from covidssl.learning.keeping import Keeping, Notes
from covidssl.learning.together import Together
from covidssl.rehearsal import saying_what_fits
from covidssl.training import (
    NonFiniteLossError,
    StepReport,
    StopSignals,
    Task,
    TrainingPlan,
    TrainingState,
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
        NoRoomError: when the disk is full.
        TrainingError: when the device has not enough memory (it says which batch would fit), when
            checkpoints cannot be read, or when another process has failed.
        EndedElsewhereError: in a process that is not the first, when another one has failed.
    """
    plan, together = what.plan, Together(what.fabric)
    keeping = Keeping(what.out, together, state, plan, what.checkpoint_every)
    with StopSignals() as signals, ExitStack() as opened:
        notes = keeping.begin(first)
        if STOPPED_EARLY in notes:
            return notes
        books = _open_books(what, state, together, opened)

        def after(report: StepReport) -> list[int]:
            """What the first process does with a step; whether to end, and the signal caught."""
            if books is None:
                return [0, signals.caught]
            books.write(report)
            early = bool(on_step(report, notes, books.board))
            books.show(report)
            if early:
                notes[STOPPED_EARLY] = float(report.step)
            if early or signals.caught or keeping.is_due():
                keeping.save(notes)
            return [int(early), signals.caught]

        for report in _steps(what, state, together):
            # What one process was told, or wants, all of them do.
            ended, caught = together.all_do(partial(after, report))
            if ended:
                notes[STOPPED_EARLY] = float(report.step)
            if caught:
                keeping.see_that_it_is_saved(notes)
                raise _stopped(what, caught, state.step)
            if ended:
                log.info("%s: ended early, at step %d.", what.out.name, report.step)
                break
    return notes


def _open_books(
    what: Learning, state: TrainingState, together: Together, opened: ExitStack
) -> Books | None:
    """The books, in the first process."""
    found: list[Books] = []

    def work() -> list[int]:
        if together.first:
            books = Books(what.out, tuple(what.task.parts), state.step, what.plan.steps)
            found.append(opened.enter_context(books))
        return []

    together.all_do(work)
    return found[0] if found else None


def _steps(what: Learning, state: TrainingState, together: Together) -> Iterator[StepReport]:
    """The reports of the steps to come; a step that cannot be taken is written down."""
    count = len(what.data)  # type: ignore[arg-type]  # every dataset of ours has a length
    batches = loader(what.data, count, what.plan, what.seed, state.step, process_of(what.fabric))
    try:
        with together.noticing_who_is_gone():
            yield from train(what.fabric, state, batches, what.task, what.plan, what.seed)
    except NonFiniteLossError as error:
        # The loss is that of all processes: all of them come here.
        if not together.first:
            raise EndedElsewhereError(str(error)) from error
        write_json(what.out / "nonfinite.json", {"step": error.step, "seed": error.seed})
        raise


def _stopped(what: Learning, caught: int, step: int) -> StoppedError | EndedElsewhereError:
    text = (
        f"{what.out}: stopped by {signal.Signals(caught).name} after step {step}, of which there "
        f"is a checkpoint. Go on with --resume."
    )
    if what.fabric.is_global_zero:
        return StoppedError(text, caught)
    return EndedElsewhereError(text)
