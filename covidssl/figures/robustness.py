"""A score against severity, a panel for each kind of corruption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator

from covidssl.errors import DataError
from covidssl.figures.style import BLUE, ORANGE, QUIET, STYLE, png
from covidssl.metrics import Estimate

_COLUMNS, _DPI = 4, 150


class Panel(NamedTuple):
    """One kind.

    Attributes:
        title: of it.
        unit: of the amounts.
        amounts: at each severity, the mildest first.
        scores: (K,) with their intervals.
        clean: (K,) of the same scans as they are; severities of the same scans are joined.
        attack: whether it was chosen against the model.
    """

    title: str
    unit: str
    amounts: Sequence[float]
    scores: Sequence[Estimate]
    clean: Sequence[float]
    attack: bool = False


def robustness_figure(panels: Sequence[Panel], clean: Estimate) -> bytes:
    """AUROC with its interval at each severity, from the clean one of the same scans on.

    The clean score of all scans is a dotted line through all panels.

    Raises:
        DataError: without a panel.
    """
    if not panels:
        raise DataError("A figure of robustness needs one kind with a score at least.")
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    with rc_context(STYLE):
        figure = Figure(
            figsize=(2.9 * columns, 2.6 * rows),
            dpi=_DPI,
            layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08),
            facecolor="white",
        )
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        places = [axes for row in grid for axes in row]
        for axes, panel in zip(places, panels, strict=False):
            _draw(axes, panel, clean)
        for axes in places[len(panels) :]:
            axes.set_visible(False)
        for row in grid:
            row[0].set_ylabel("AUROC")
        return png(figure)


def _draw(axes: Axes, panel: Panel, clean: Estimate) -> None:
    colour = ORANGE if panel.attack else BLUE
    axes.axhline(clean.value, color=QUIET, linewidth=1, linestyle=":")
    for start in dict.fromkeys(panel.clean):
        places = [k for k, own in enumerate(panel.clean) if own == start]
        own, steps = [panel.scores[k] for k in places], [0, *(k + 1 for k in places)]
        axes.fill_between(
            steps, [start, *(one.low for one in own)], [start, *(one.high for one in own)],
            color=colour, alpha=0.18, linewidth=0,
        )  # fmt: skip
        values = [start, *(one.value for one in own)]
        axes.plot(steps, values, color=colour, marker="o", markersize=4)
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(panel.unit)
    axes.xaxis.set_major_locator(FixedLocator(range(len(panel.scores) + 1)))
    axes.set_xticklabels(["clean", *(f"{amount:g}" for amount in panel.amounts)], fontsize=8)
    axes.set_ylim(min(0.45, *(one.low for one in panel.scores)), 1.02)
