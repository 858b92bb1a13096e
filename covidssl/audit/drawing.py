"""The figures of an audit: how neighbours stand in file order, and what trivial models reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes

from covidssl.figures.style import BLUE, GREEN, INK, ORANGE, QUIET, STYLE, canvas, png
from covidssl.file_order import OrderEffect
from covidssl.metrics import Estimate

_DOTTED = (0, (2, 3))


class Dumbbell(NamedTuple):
    """One model: its name, and its score on a random split and kept apart; None: not tried."""

    name: str
    random: Estimate | None
    apart: Estimate | None


def order_figure(orders: Mapping[str, OrderEffect]) -> bytes:
    """Share of nearest neighbours by distance in file order, and the share by chance."""
    with rc_context(STYLE):
        figure, axes = canvas(6.4, 3.6)
        for colour, (by, effect) in zip((BLUE, GREEN), orders.items(), strict=False):
            x = [point.distance for point in effect.curve]
            axes.plot(
                x, [point.share for point in effect.curve], color=colour, label=by, marker="."
            )
        effect = next(iter(orders.values()))
        x = [point.distance for point in effect.curve]
        y = [point.chance for point in effect.curve]
        axes.plot(x, y, color=QUIET, linewidth=1.2, linestyle=_DOTTED, label="shuffled order")
        axes.axvline(effect.within, color=ORANGE, linewidth=1)
        axes.annotate(
            f"{effect.share_within:.0%} within {effect.within}\n(chance {effect.chance:.1%})",
            (effect.within, effect.share_within),
            (8, -26),
            textcoords="offset points",
            color=ORANGE,
            size=9,
        )
        axes.set_xscale("log")
        axes.set_xticks(x, [str(one) for one in x])
        axes.minorticks_off()
        axes.set(ylim=(0, 1), xlabel="places in file order, at most", ylabel="share of neighbours")
        axes.legend(loc="center right" if effect.carries_patients else "upper left")
        return png(figure)


def likeness_figure(effect: OrderEffect) -> bytes:
    """How alike two pictures are by their distance in file order, beyond any two of the class."""
    with rc_context(STYLE):
        figure, axes = canvas(6.4, 3.6)
        lags = np.arange(1, len(effect.likeness) + 1)
        axes.axhline(0, color=QUIET, linewidth=1.2, linestyle=_DOTTED)
        axes.plot(lags, effect.likeness, color=BLUE)
        if effect.carries_patients:
            axes.axvspan(0, effect.gap, color=ORANGE, alpha=0.12, linewidth=0)
            top = float(max(effect.likeness))
            axes.text(effect.gap, top, f" gap of {effect.gap}", color=ORANGE, size=9, va="top")
        axes.set(xlabel="places apart in file order", ylabel="correlation beyond chance")
        axes.margins(x=0)
        return png(figure)


def dumbbell_figure(rows: Sequence[Dumbbell], apart: str) -> bytes:
    """AUROC of each trivial model on a random split and kept apart; the bar is its interval."""
    shown = [row for row in rows if row.random or row.apart][::-1]
    with rc_context(STYLE):
        figure, axes = canvas(8.2, 1.1 + 0.3 * len(shown))
        axes.axvline(0.5, color=QUIET, linewidth=1.2, linestyle=_DOTTED)
        for y, row in enumerate(shown):
            if row.random and row.apart:
                ends = (row.apart.value, row.random.value)
                axes.plot(ends, (y, y), color=QUIET, linewidth=1, zorder=1)
            for estimate, colour, marker in ((row.random, ORANGE, "D"), (row.apart, BLUE, "o")):
                if estimate is not None:
                    _mark(axes, estimate, y, colour, marker)
        for colour, marker, label in ((ORANGE, "D", "random split"), (BLUE, "o", apart)):
            axes.plot([], [], color=colour, marker=marker, linestyle="", label=label)
        axes.plot([], [], color=QUIET, linewidth=1.2, linestyle=_DOTTED, label="chance")
        axes.set_yticks(range(len(shown)), [row.name for row in shown])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set(xlabel="AUROC", ylim=(-0.7, len(shown) - 0.3))
        axes.set_xlim(min(0.45, *_lows(shown)), 1.005)
        axes.grid(visible=False, axis="y")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, handletextpad=0.3)
        return png(figure)


def _lows(rows: Sequence[Dumbbell]) -> list[float]:
    return [one.low for row in rows for one in (row.random, row.apart) if one] or [0.45]


def _mark(axes: Axes, estimate: Estimate, y: int, colour: str, marker: str) -> None:
    ends = (estimate.low, estimate.high)
    axes.plot(ends, (y, y), color=colour, linewidth=3, alpha=0.35, solid_capstyle="round")
    axes.plot(estimate.value, y, color=colour, marker=marker, markersize=6, zorder=3)
