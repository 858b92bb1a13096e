"""Pseudo-lesions held against real ones: descriptors, distances, classifier two-sample tests."""

from covidssl.realism.cases import DESIGN_CASES, Stack, read_case
from covidssl.realism.study import (
    Design,
    Effort,
    Lesions,
    cache_key,
    measure,
    measure_real,
    pseudo_in_normal,
    read_design,
)

__all__ = [
    "DESIGN_CASES",
    "Design",
    "Effort",
    "Lesions",
    "Stack",
    "cache_key",
    "measure",
    "measure_real",
    "pseudo_in_normal",
    "read_case",
    "read_design",
]
