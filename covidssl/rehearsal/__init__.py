"""What a run will take, measured on a few of its own steps; and the batch that memory is for."""

from covidssl.rehearsal.batch_size import (
    MOST_PICTURES,
    ladder,
    largest_batch,
    out_of_memory,
    saying_what_fits,
    with_fitting_batch,
)
from covidssl.rehearsal.finetuning import fitted_finetuning, rehearse_finetuning
from covidssl.rehearsal.forecast import Forecast, Line, Products, forecast
from covidssl.rehearsal.memory import free_bytes
from covidssl.rehearsal.pretraining import fitted_pretraining, rehearse_pretraining
from covidssl.rehearsal.trial import Trial

__all__ = [
    "MOST_PICTURES",
    "Forecast",
    "Line",
    "Products",
    "Trial",
    "fitted_finetuning",
    "fitted_pretraining",
    "forecast",
    "free_bytes",
    "ladder",
    "largest_batch",
    "out_of_memory",
    "rehearse_finetuning",
    "rehearse_pretraining",
    "saying_what_fits",
    "with_fitting_batch",
]
