"""What a run will take, measured on a few of its own steps; and the batch that memory is for."""

from covidssl.rehearsal.batch_size import (
    MOST_PICTURES,
    ladder,
    largest_batch,
    out_of_memory,
    saying_what_fits,
    with_fitting_batch,
)
from covidssl.rehearsal.forecast import Forecast, Line, Products, forecast, weights_bytes
from covidssl.rehearsal.labelled import LabelledRun, Look, look_at
from covidssl.rehearsal.memory import free_bytes
from covidssl.rehearsal.trial import Trial, one_process

__all__ = [
    "MOST_PICTURES",
    "Forecast",
    "LabelledRun",
    "Line",
    "Look",
    "Products",
    "Trial",
    "forecast",
    "free_bytes",
    "ladder",
    "largest_batch",
    "look_at",
    "one_process",
    "out_of_memory",
    "saying_what_fits",
    "weights_bytes",
    "with_fitting_batch",
]
