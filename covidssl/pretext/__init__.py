"""What teaches an encoder without labels: restoring pseudo-lesions, and its comparators."""

from covidssl.pretext.clean import CleanSlices
from covidssl.pretext.perlin import PerlinPretext, PerlinTask, corrupt
from covidssl.pretext.pretexts import Pretext, Setting
from covidssl.pretext.restoring import RestorationBatch, RestorationLoss

PretextPlan = PerlinPretext

__all__ = [
    "CleanSlices",
    "PerlinPretext",
    "PerlinTask",
    "Pretext",
    "PretextPlan",
    "RestorationBatch",
    "RestorationLoss",
    "Setting",
    "corrupt",
]
