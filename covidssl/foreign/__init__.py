"""Weights of others as encoders of covidssl; the one place where a pickle is opened."""

from covidssl.foreign.importing import Imported, import_encoder
from covidssl.foreign.layouts import LAYOUTS, Layout, LayoutName
from covidssl.foreign.reading import read_state_dict
from covidssl.foreign.stated import Stated, stated_beside

__all__ = [
    "LAYOUTS",
    "Imported",
    "Layout",
    "LayoutName",
    "Stated",
    "import_encoder",
    "read_state_dict",
    "stated_beside",
]
