"""One training loop for the pretext and for fine-tuning, that goes on exactly where it stopped."""

from covidssl.training.batches import StepBatches, loader
from covidssl.training.fabric import (
    STEP_PATIENCE,
    WAITING_PATIENCE,
    Machines,
    keep_freed_memory,
    make_fabric,
    must_have_right_gradients,
)
from covidssl.training.loop import NonFiniteLossError, StepReport, train
from covidssl.training.plan import Precision, TrainingPlan
from covidssl.training.processes import (
    Process,
    first_process,
    process_of,
    started_by_first,
)
from covidssl.training.state import TrainingState
from covidssl.training.stopping import StopSignals
from covidssl.training.tasks import Examples, Losses, Share, Task

__all__ = [
    "STEP_PATIENCE",
    "WAITING_PATIENCE",
    "Examples",
    "Losses",
    "Machines",
    "NonFiniteLossError",
    "Precision",
    "Process",
    "Share",
    "StepBatches",
    "StepReport",
    "StopSignals",
    "Task",
    "TrainingPlan",
    "TrainingState",
    "first_process",
    "keep_freed_memory",
    "loader",
    "make_fabric",
    "must_have_right_gradients",
    "process_of",
    "started_by_first",
    "train",
]
