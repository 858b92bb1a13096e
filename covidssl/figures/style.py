"""One look for all figures: safe for colour-blind eyes, readable at 600 pixels."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

INK, QUIET, GRID = "#1f2933", "#66727f", "#e3e7eb"
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
# Okabe and Ito: told apart with every kind of colour vision.
PALETTE = (BLUE, ORANGE, GREEN, "#cc79a7", "#e69f00", "#56b4e9", "#5b5b5b")

_DPI = 200
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 2.0,
    # A scan or arm called "$a" is a name, not a formula.
    "text.parse_math": False,
}


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one panel, size in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(width, height), dpi=_DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def png(figure: Figure) -> bytes:
    """The figure as PNG; the same numbers give the same bytes."""
    content = io.BytesIO()
    # Without the name and version of the writer the same numbers give the same bytes.
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
