"""What teaches an encoder without labels: restoring pseudo-lesions, and its comparators."""

from covidssl.pretext.clean import CleanSlices
from covidssl.pretext.mae import MaePretext
from covidssl.pretext.moco import MocoPretext
from covidssl.pretext.models_genesis import ModelsGenesisPretext
from covidssl.pretext.none import NoPretext
from covidssl.pretext.perlin import PerlinPretext, PerlinTask, corrupt
from covidssl.pretext.plans import PretextPlan
from covidssl.pretext.pretexts import Course, Pretext, PretextTask, Setting
from covidssl.pretext.restoring import RestorationBatch, RestorationLoss
from covidssl.pretext.rotation import RotationPretext
from covidssl.pretext.simclr import SimclrPretext

__all__ = [
    "CleanSlices",
    "Course",
    "MaePretext",
    "ModelsGenesisPretext",
    "MocoPretext",
    "NoPretext",
    "PerlinPretext",
    "PerlinTask",
    "Pretext",
    "PretextPlan",
    "PretextTask",
    "RestorationBatch",
    "RestorationLoss",
    "RotationPretext",
    "Setting",
    "SimclrPretext",
    "corrupt",
]
