"""A model for use elsewhere: one graph from pixels to a probability, in several formats."""

from covidssl.export.bundle import write_bundle
from covidssl.export.checks import Check
from covidssl.export.exchange import write_timm
from covidssl.export.outputs import Format, make_way, whole_folder
from covidssl.export.programs import write_onnx, write_pt2
from covidssl.export.scorer import Scorer, scorer_of

__all__ = [
    "Check",
    "Format",
    "Scorer",
    "make_way",
    "scorer_of",
    "whole_folder",
    "write_bundle",
    "write_onnx",
    "write_pt2",
    "write_timm",
]
