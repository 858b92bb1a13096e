"""Figures of a run as it learns, and of several arms beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.figures.style import BLUE, ORANGE, PALETTE, STYLE, canvas, png
from covidssl.metrics import Estimate

Floats = NDArray[np.floating]


class Arm(NamedTuple):
    """One row of a comparison: an arm at one share of the labels."""

    arm: str
    fraction: float
    estimate: Estimate


def training_curve(
    steps: Sequence[float],
    loss: Sequence[float],
    validation: tuple[Sequence[float], Sequence[float]] | None = None,
    quantity: str = "loss",
) -> bytes:
    """A quantity over the steps of a run: faint as written, strong as running mean.

    Args:
        steps: (N,) step of each value.
        loss: (N,) value at each step.
        validation: steps and values on validation data; None: not drawn.
        quantity: what is drawn, for the axis.
    """
    if not len(steps) or len(steps) != len(loss):
        raise DataError(
            f"A curve needs one value a step, got {len(loss)} values for {len(steps)} steps."
        )
    x, y = np.asarray(steps, dtype=float), np.asarray(loss, dtype=float)
    width = max(1, len(y) // 40)
    with rc_context(STYLE):
        figure, axes = canvas(6.0, 3.4)
        if width > 1:
            axes.plot(x, y, color=BLUE, alpha=0.25, linewidth=0.8)
        marker = "o" if len(y) == 1 else None
        axes.plot(x, running_mean(y, width), color=BLUE, label="training", marker=marker)
        if validation is not None and len(validation[0]):
            axes.plot(*validation, color=ORANGE, marker="o", markersize=4, label="validation")
            axes.legend(loc="best")
        axes.set(xlabel="step", ylabel=quantity)
        axes.margins(x=0.02)
        return png(figure)


def comparison_figure(rows: Sequence[Arm], metric: str = "AUROC") -> bytes:
    """Arms below each other at each share of the labels: a dot for the value, a line its interval.

    Args:
        rows: in the order in which arms shall be listed.
        metric: for the axis.
    """
    if not rows:
        raise DataError("A comparison needs at least one row.")
    arms = list(dict.fromkeys(row.arm for row in rows))
    groups = {
        fraction: sorted(
            (row for row in rows if row.fraction == fraction), key=lambda row: arms.index(row.arm)
        )
        for fraction in sorted({row.fraction for row in rows})
    }
    height = 0.8 + 0.26 * len(rows) + 0.42 * len(groups)
    with rc_context(STYLE):
        figure, axes = canvas(6.4, height)
        place = 0.0
        ticks: dict[float, str] = {}
        for fraction, members in groups.items():
            _labels_used(axes, place, fraction)
            for row in members:
                place += 1
                ticks[place] = row.arm
                _interval(axes, place, row.estimate, PALETTE[arms.index(row.arm) % len(PALETTE)])
            place += 1.6
        axes.set_ylim(place - 0.9, -0.7)
        axes.set_yticks(list(ticks), list(ticks.values()))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.06)
        axes.set_xlabel(f"{metric} with 95 % interval")
        return png(figure)


def _labels_used(axes: Axes, place: float, fraction: float) -> None:
    """The heading of a group of arms."""
    words = "all labels" if fraction == 1 else f"{100 * fraction:.3g} % of the labels"
    axes.text(
        0.0, place, words, transform=axes.get_yaxis_transform(), weight="bold", size=9, va="center"
    )


def _interval(axes: Axes, place: float, estimate: Estimate, colour: str) -> None:
    axes.plot((estimate.low, estimate.high), (place, place), color=colour, linewidth=2.5)
    axes.plot(estimate.value, place, "o", color=colour, markersize=7, markeredgecolor="white")
    axes.annotate(
        f"{estimate.value:.3f}",
        (estimate.high, place),
        (6, 0),
        textcoords="offset points",
        va="center",
        size=8.5,
        annotation_clip=False,
    )


def running_mean(values: Floats, width: int) -> Floats:
    """Mean over `width` neighbours (fewer at both ends), same length."""
    ones = np.ones(width)
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")
