"""The parts of fine-tuning: what it opens, its split, how it is validated, what comes out."""

from covidssl.finetuning.gate import through_the_gate
from covidssl.finetuning.opening import Opening, Places, open_finetuning
from covidssl.finetuning.parts import FineTuning
from covidssl.finetuning.validating import Validating

__all__ = [
    "FineTuning",
    "Opening",
    "Places",
    "Validating",
    "open_finetuning",
    "through_the_gate",
]
