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
        attack: whether it was chosen against the model.
    """

    title: str
    unit: str
    amounts: Sequence[float]
    scores: Sequence[Estimate]
    attack: bool = False


def robustness_figure(panels: Sequence[Panel], clean: Estimate) -> bytes:
    """AUROC with its interval at each severity, the clean one as a line through all panels.

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
    steps = [0, *range(1, len(panel.scores) + 1)]
    scores = [clean, *panel.scores]
    axes.axhline(clean.value, color=QUIET, linewidth=1, linestyle=":")
    axes.fill_between(
        steps, [one.low for one in scores], [one.high for one in scores], color=colour, alpha=0.18,
        linewidth=0,
    )  # fmt: skip
    axes.plot(steps, [one.value for one in scores], color=colour, marker="o", markersize=4)
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(panel.unit)
    axes.xaxis.set_major_locator(FixedLocator(steps))
    axes.set_xticklabels(["clean", *(f"{amount:g}" for amount in panel.amounts)], fontsize=8)
    axes.set_ylim(min(0.45, *(one.low for one in scores)), 1.02)
