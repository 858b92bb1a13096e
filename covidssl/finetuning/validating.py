"""Fine-tuning validated as it learns: what is found is written down, the best weights are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from covidssl.selection import BestOnValidation, append_validation
from covidssl.training import StepReport, TrainingState


@dataclass(frozen=True)
class Validating:
    """The validation of a run, as the learning loop calls it.

    Attributes:
        best: scores weights, and keeps the best of them.
        state: that learns.
        table: `validation.csv`.
        every: steps between validations.
        steps: of the plan; the last one is validated too.
    """

    best: BestOnValidation
    state: TrainingState
    table: Path
    every: int
    steps: int

    def first(self, notes: dict[str, float]) -> None:
        """Score the first weights: the linear probe, where the head starts from one."""
        append_validation(self.table, 0, self.best.consider(self.state, notes))

    def step(self, report: StepReport, notes: dict[str, float], board: SummaryWriter) -> None:
        """Score the weights where they are due."""
        if report.step % self.every == 0 or report.step == self.steps:
            found = self.best.consider(self.state, notes)
            append_validation(self.table, report.step, found)
            for name, value in found.items():
                board.add_scalar(f"validation/{name}", value, report.step)
