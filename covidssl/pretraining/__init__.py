"""The parts of pretraining: what it begins with, how it is watched, and what it hands on."""

from covidssl.pretraining.handing_on import HandingOn
from covidssl.pretraining.labelled import labelled_set
from covidssl.pretraining.parts import (
    Pretraining,
    begin_pretraining,
    must_have_pictures,
    must_have_whole_batches,
    opened,
)
from covidssl.pretraining.pictures import PICTURE_BYTES, PicturesWatched
from covidssl.pretraining.watching import (
    BEST_FILES,
    Kept,
    Watching,
    begin_watching,
    quality_summary,
)

__all__ = [
    "BEST_FILES",
    "PICTURE_BYTES",
    "HandingOn",
    "Kept",
    "PicturesWatched",
    "Pretraining",
    "Watching",
    "begin_pretraining",
    "begin_watching",
    "labelled_set",
    "must_have_pictures",
    "must_have_whole_batches",
    "opened",
    "quality_summary",
]
