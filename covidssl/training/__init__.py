"""One training loop for the pretext and for fine-tuning, that goes on exactly where it stopped."""

from covidssl.training.batches import StepBatches, loader
from covidssl.training.fabric import make_fabric
from covidssl.training.loop import NonFiniteLossError, StepReport, train
from covidssl.training.plan import TrainingPlan
from covidssl.training.state import TrainingState
from covidssl.training.tasks import Examples, Losses, Share, Task

__all__ = [
    "Examples",
    "Losses",
    "NonFiniteLossError",
    "Share",
    "StepBatches",
    "StepReport",
    "Task",
    "TrainingPlan",
    "TrainingState",
    "loader",
    "make_fabric",
    "train",
]
