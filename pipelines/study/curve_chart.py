"""Curves of AUROC over an amount, with bands, in panels that share one legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, NullLocator

from covidssl.figures.style import STYLE, png
from pipelines.study.curves import Curve

_WIDTH, _HEIGHT = 8.0, 2.9
_DPI = 200


class Look(NamedTuple):
    """How one arm is drawn.

    Attributes:
        words: in the legend; empty: not there.
        colour: of line and band.
        band: whether its interval is drawn.
        line: style of the line.
        width: of the line, in points.
    """

    words: str
    colour: str
    band: bool = True
    line: str = "-"
    width: float = 2.2


class Drawn(NamedTuple):
    """One panel.

    Attributes:
        title: above it.
        curves: by arm, in the order of drawing; the last lies on top.
        levels: dotted lines across, of encoders that learnt nothing, by arm.
    """

    title: str
    curves: Mapping[str, Curve]
    levels: Mapping[str, float] = {}


def curve_figure(panels: Sequence[Drawn], looks: Mapping[str, Look], amount: str) -> bytes:
    """A PNG of panels two a row; amounts on a logarithmic scale.

    Args:
        panels: what is drawn.
        looks: by arm.
        amount: what the axis below counts.
    """
    rows = -(-len(panels) // 2)
    columns = min(2, len(panels))
    with rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
        figure = Figure(
            figsize=(_WIDTH, 0.5 + _HEIGHT * rows), dpi=_DPI, layout=layout, facecolor="white"
        )
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, squeeze=False, sharey="row")
        named: dict[str, Any] = {}
        for place, (axes, panel) in enumerate(zip(grid.flat, panels, strict=False)):
            named |= _draw(axes, panel, looks)
            if place % columns == 0:
                axes.set_ylabel("AUROC, blocked folds")
            if place >= len(panels) - columns:
                axes.set_xlabel(amount)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        ordered = [
            one for one in dict.fromkeys(look.words for look in looks.values()) if one in named
        ]
        ordered += [words for words in named if words not in ordered]
        figure.legend(
            [named[words] for words in ordered], ordered, loc="outside upper center", ncols=4
        )
        return png(figure)


def _draw(axes: Axes, panel: Drawn, looks: Mapping[str, Look]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for arm, curve in panel.curves.items():
        look = looks[arm]
        every = curve.estimates
        if look.band:
            low, high = ([getattr(one, end) for one in every] for end in ("low", "high"))
            axes.fill_between(curve.amount, low, high, color=look.colour, alpha=0.14, linewidth=0)
        (line,) = axes.plot(
            curve.amount,
            curve.value,
            color=look.colour,
            linestyle=look.line,
            linewidth=look.width,
            marker="o" if look.band else None,
            markersize=4,
        )
        if look.words:
            named[look.words] = line
    for arm, value in panel.levels.items():
        level = axes.axhline(value, color=looks[arm].colour, linewidth=1, linestyle=(0, (2, 3)))
        named[f"{looks[arm].words}, no pretraining"] = level
    _scale(axes, panel)
    return named


def _scale(axes: Axes, panel: Drawn) -> None:
    axes.set_title(panel.title, fontsize=8.5, loc="left")
    axes.set_xscale("log")
    amounts = np.concatenate([curve.amount for curve in panel.curves.values()])
    ticks = [step * 10.0**power for power in range(6) for step in (1, 2, 5)]
    shown = [tick for tick in ticks if 0.8 * amounts.min() <= tick <= 1.25 * amounts.max()]
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(shown, [f"{tick:.0f}" for tick in shown])
