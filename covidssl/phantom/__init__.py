"""Chest CT made from code: two classes of patients for tests and demonstrations, nobody's data."""

from covidssl.phantom.cohort import (
    CLASS_FOLDERS,
    WHOLE_LUNGS,
    Grid,
    write_labelled,
    write_unlabelled,
)
from covidssl.phantom.scan import SHAPE, SPACING_MM, PhantomScan, phantom_chest

__all__ = [
    "CLASS_FOLDERS",
    "SHAPE",
    "SPACING_MM",
    "WHOLE_LUNGS",
    "Grid",
    "PhantomScan",
    "phantom_chest",
    "write_labelled",
    "write_unlabelled",
]
