"""Pseudo-lesions: ranges and draws (`params`), Perlin noise (`perlin`), drawing (`render`)."""

from covidssl.lesions.params import (
    LesionParams,
    LesionRanges,
    params_from_json,
    params_to_json,
    sample,
)
from covidssl.lesions.perlin import perlin
from covidssl.lesions.render import Rendered, render

__all__ = [
    "LesionParams",
    "LesionRanges",
    "Rendered",
    "params_from_json",
    "params_to_json",
    "perlin",
    "render",
    "sample",
]
