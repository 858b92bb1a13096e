"""The training loop with its books: metrics.csv, TensorBoard, checkpoints, the bad batch's seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset
from torch.utils.tensorboard import SummaryWriter

from covidssl.checkpoint import load_checkpoint, save_checkpoint
from covidssl.commands.progress import track
from covidssl.files import read_csv, write_json
from covidssl.runs import MetricsFile
from covidssl.training import (
    NonFiniteLossError,
    StepReport,
    Task,
    TrainingPlan,
    TrainingState,
    loader,
    train,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Notes = dict[str, float]
OnStep = Callable[[StepReport, Notes, SummaryWriter], None]


@dataclass(frozen=True)
class Learning:
    """What is trained, on what, by which plan, and where the books are kept.

    Attributes:
        out: the run folder.
        fabric: device and precision.
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


def learn(
    what: Learning, state: TrainingState, on_step: OnStep, first: Callable[[Notes], None]
) -> Notes:
    """Train to the end of the plan, from the newest checkpoint in `out` if there is one.

    Args:
        what: to train.
        state: network and optimiser; a checkpoint is loaded into it.
        on_step: called after each step with its report, the notes that a checkpoint keeps, and
            the TensorBoard writer.
        first: called before the first step with the notes, where there is no checkpoint.

    Returns:
        The notes.

    Raises:
        NonFiniteLossError: after `nonfinite.json` was written, which makes the batch again.
    """
    out, plan, seed = what.out, what.plan, what.seed
    found = load_checkpoint(out / "checkpoints", state)
    notes: Notes = {} if found is None else found
    if found is None:
        first(notes)
    metrics = MetricsFile(out / "metrics.csv", what.task.parts, state.step)
    board = SummaryWriter(str(out / "tensorboard"), purge_step=state.step)
    count = len(what.data)  # type: ignore[arg-type]  # every dataset of ours has a length
    batches = loader(what.data, count, plan, seed, state.step)
    steps = train(what.fabric, state, batches, what.task, plan, seed)
    try:
        for report in track(steps, f"{out.name}: training", plan.steps, state.step):
            metrics.write(report)
            _to_board(board, report)
            on_step(report, notes, board)
            if report.step % what.checkpoint_every == 0 or report.step == plan.steps:
                save_checkpoint(out / "checkpoints", state, notes)
    except NonFiniteLossError as error:
        write_json(out / "nonfinite.json", {"step": error.step, "seed": error.seed})
        raise
    finally:
        metrics.close()
        board.close()
    return notes


def last_tenth(out: Path) -> dict[str, float]:
    """Means of the loss, its parts and the speed over the last tenth of the steps."""
    rows = read_csv(out / "metrics.csv")
    rows = rows[-max(1, len(rows) // 10) :]
    names = [name for name in rows[0] if name not in ("step", "lr")]
    return {name: sum(float(row[name]) for row in rows) / len(rows) for name in names}


def _to_board(board: SummaryWriter, report: StepReport) -> None:
    values = {
        "loss": report.loss,
        **report.parts,
        "lr": report.learning_rate,
        "images_per_second": report.images_per_second,
    }
    for name, value in values.items():
        board.add_scalar(f"train/{name}", value, report.step)
