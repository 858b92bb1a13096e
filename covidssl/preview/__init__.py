"""What the lesion engine makes of some slices, to look at before training.

A plan says which draws go on which slices: drawn anew (`drawing`), or read back from a file
(`replay`). It is shown as a sheet (`sheet`) and as a page of presets side by side (`gallery`).
"""

from covidssl.preview.drawing import (
    Drawing,
    Plan,
    chosen_places,
    compared,
    fresh_plan,
    rendered_hashes,
    with_pixels_of,
)
from covidssl.preview.gallery import column_of, origin, write_gallery
from covidssl.preview.replay import draws_json, read_replay
from covidssl.preview.sheet import caption, sheet
from covidssl.preview.shown import Shown, shown_slices

__all__ = [
    "Drawing",
    "Plan",
    "Shown",
    "caption",
    "chosen_places",
    "column_of",
    "compared",
    "draws_json",
    "fresh_plan",
    "origin",
    "read_replay",
    "rendered_hashes",
    "sheet",
    "shown_slices",
    "with_pixels_of",
    "write_gallery",
]
