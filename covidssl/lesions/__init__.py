"""Pseudo-lesions: what they may look like, draws of them, and their drawing into pictures."""

from covidssl.lesions.params import LesionParams, params_from_json, params_to_json
from covidssl.lesions.presets import Lesions, preset, preset_names
from covidssl.lesions.ranges import KINDS, Kinds, LesionRanges
from covidssl.lesions.render import Rendered, render
from covidssl.lesions.sampling import sample

__all__ = [
    "KINDS",
    "Kinds",
    "LesionParams",
    "LesionRanges",
    "Lesions",
    "Rendered",
    "params_from_json",
    "params_to_json",
    "preset",
    "preset_names",
    "render",
    "sample",
]
