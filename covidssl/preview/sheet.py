"""A sheet to look at before training: one set of ranges, a row a slice."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from covidssl.files import replacing
from covidssl.hounsfield import LUNG_WINDOW_HU, hu_to_unit
from covidssl.lesions import Rendered
from covidssl.preview.numbers import numbers
from covidssl.preview.pictures import DIFFERENCE_HU

COLUMNS = (
    "clean", "lung mask", "with pseudo-lesions", f"difference (±{DIFFERENCE_HU:.0f} HU)",
    "the draw",
)  # fmt: skip
LUNG_COLOUR, LESION_COLOUR = "#4fc3f7", "#ffb300"
_ROW_INCHES = 2.0
_NUMBERS_WIDTH = 1.7
_MOST_LINES = 12
_LINE = 32
_MOST_POINTS = 7.0

_DENSE = ("consolidation", "reversed_halo")
# Fields by their first word that say something of these kinds of focus alone.
_ONLY_OF = {
    "dense": _DENSE,
    "swallow": _DENSE,
    "halo": ("consolidation",),
    "ring": ("reversed_halo",),
    "mesh": ("crazy_paving",),
}


def sheet(
    clean_hu: Tensor, lungs: Tensor, rendered: Rendered, captions: Sequence[str], path: Path
) -> Path:
    """Write one row a slice: clean, lungs, with pseudo-lesions, difference, and its caption.

    Args:
        clean_hu: (B, 1, H, W) HU.
        lungs: (B, 1, H, W) bool.
        rendered: what `covidssl.lesions.render` made of them.
        captions: B texts of a few lines, such as `caption` makes.
        path: where the PNG goes, whole or not at all; returned.

    Raises:
        ValueError: when there is no slice, or not one caption a slice.
    """
    rows = len(clean_hu)
    if rows == 0 or len(captions) != rows:
        raise ValueError(f"a sheet needs a caption a slice, got {rows} and {len(captions)}.")
    height = _ROW_INCHES * rows + 0.35
    figure = Figure(figsize=(_ROW_INCHES * (4 + _NUMBERS_WIDTH), height), facecolor="white")
    FigureCanvasAgg(figure)
    top = 1 - 0.35 / height
    grid = figure.add_gridspec(
        rows, 5, left=0.005, right=0.995, bottom=0.04 / height, top=top, wspace=0.02, hspace=0.03,
        width_ratios=(1, 1, 1, 1, _NUMBERS_WIDTH),
    )  # fmt: skip
    for row in range(rows):
        axes = [figure.add_subplot(grid[row, column]) for column in range(len(COLUMNS))]
        pictures = (clean_hu, lungs, rendered.corrupted_hu, rendered.lesion_map)
        _row(axes, [_plane(picture[row]) for picture in pictures], captions[row])
        if row == 0:
            for axis, title in zip(axes, COLUMNS, strict=True):
                axis.set_title(title, fontsize=9, pad=4)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata={"Software": None})
    return path


def caption(row: Mapping[str, Any], title: str = "") -> str:
    """The numbers of one draw (a row of `LesionParams.rows()`) as lines of text.

    What says something of kinds of focus that were not drawn is left out.
    """
    first = [title] if title else []
    if row["foci"] == 0:
        return "\n".join([*first, "clean: nothing drawn"])
    kinds = Counter(row["kind"])
    drawn = {
        key: value
        for key, value in row.items()
        if key != "kind" and kinds.keys() & set(_ONLY_OF.get(key.partition("_")[0], kinds))
    }
    lines = [f"{count} × {kind.replace('_', ' ')}" for kind, count in kinds.items()]
    lines += [f"{name} {text}" for name, text in numbers(drawn)]
    lines = [textwrap.shorten(line, _LINE, placeholder=" …") for line in lines]
    return "\n".join([*first, *lines])


def _plane(picture: Tensor) -> NDArray[np.float32]:
    plane: NDArray[np.float32] = picture[0].detach().cpu().float().numpy()
    return plane


def _row(axes: Sequence[Axes], planes: Sequence[NDArray[np.float32]], text: str) -> None:
    clean, lungs, corrupted, lesion = planes
    for axis in axes:
        axis.set_axis_off()
    for axis, hu in zip(axes, (clean, clean, corrupted), strict=False):
        axis.imshow(hu_to_unit(hu, LUNG_WINDOW_HU), cmap="gray", vmin=0, vmax=1)
    _outline(axes[1], lungs, LUNG_COLOUR)
    # Density that is taken away (vessels in a consolidation) is blue, what is added is red.
    difference = (corrupted - clean) / DIFFERENCE_HU
    axes[3].imshow(difference, cmap="RdBu_r", vmin=-1, vmax=1)
    _outline(axes[3], lungs, "0.6")
    _outline(axes[3], lesion, LESION_COLOUR)
    lines = text.split("\n")
    # However many fields a draw has, its numbers stay beside its pictures.
    half = len(lines) if len(lines) <= _MOST_LINES else (len(lines) + 1) // 2
    points = min(_MOST_POINTS, 0.96 * 72 * _ROW_INCHES / (1.4 * half))
    look: dict[str, Any] = {"fontsize": points, "va": "top", "transform": axes[4].transAxes}
    axes[4].text(0.02, 0.98, "\n".join(lines[:half]), **look)
    axes[4].text(0.52, 0.98, "\n".join(lines[half:]), **look)


def _outline(axis: Axes, share: NDArray[np.float32], colour: str) -> None:
    # A contour of a plane without one makes matplotlib warn.
    if share.min() < 0.5 <= share.max():
        axis.contour(share, levels=[0.5], colors=[colour], linewidths=0.8)
