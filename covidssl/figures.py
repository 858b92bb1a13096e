"""The figures of a run, as PNG: one look, safe for colour-blind eyes, readable at 600 pixels.

Figures are drawn with matplotlib's object interface; nothing touches the state of pyplot.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from covidssl.errors import DataError
from covidssl.metrics import Estimate

INK, QUIET, GRID = "#1f2933", "#66727f", "#e3e7eb"
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
# Okabe and Ito: told apart with every kind of colour vision.
PALETTE = (BLUE, ORANGE, GREEN, "#cc79a7", "#e69f00", "#56b4e9", "#5b5b5b")

_DPI = 200
_STYLE: dict[Any, Any] = {
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

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]


class Rated(NamedTuple):
    """One classifier in a figure.

    Attributes:
        name: for the legend.
        probability: (N,), in [0, 1].
        estimate: the area with its interval, for the legend; None: not shown.
    """

    name: str
    probability: Floats
    estimate: Estimate | None = None


class Arm(NamedTuple):
    """One row of a comparison: an arm at one share of the labels."""

    arm: str
    fraction: float
    estimate: Estimate


def roc_figure(target: Labels, rated: Sequence[Rated], threshold: float | None = None) -> bytes:
    """ROC curves; a dot marks the operating point of the first classifier.

    Args:
        target: (N,) labels, 1 = positive.
        rated: the model first, then those that it is held against.
        threshold: the model's operating point; None: no dot.
    """
    with rc_context(_STYLE):
        figure, axes = _canvas(5.2, 5.0)
        axes.plot((0, 1), (0, 1), color=QUIET, linewidth=1, linestyle=(0, (2, 3)))
        for look, one in zip(_looks(), rated, strict=False):
            x, y, _ = roc_curve(target, one.probability)
            axes.plot(x, y, label=_legend(one), **look)
        if threshold is not None:
            called = rated[0].probability >= threshold
            _dot(axes, _share(called, target == 0), _share(called, target == 1))
        _unit_square(axes, "1 − specificity", "sensitivity")
        axes.legend(loc="lower right")
        return _png(figure)


def pr_figure(target: Labels, rated: Sequence[Rated], threshold: float | None = None) -> bytes:
    """Precision against sensitivity; the dotted line is the share of positives (chance).

    Args:
        target: (N,) labels, 1 = positive.
        rated: the model first, then those that it is held against.
        threshold: the model's operating point; None: no dot.
    """
    with rc_context(_STYLE):
        figure, axes = _canvas(5.2, 5.0)
        axes.axhline(float(np.mean(target)), color=QUIET, linewidth=1, linestyle=(0, (2, 3)))
        for look, one in zip(_looks(), rated, strict=False):
            precision, sensitivity, _ = precision_recall_curve(target, one.probability)
            axes.plot(sensitivity, precision, label=_legend(one), drawstyle="steps-post", **look)
        if threshold is not None:
            called = rated[0].probability >= threshold
            if called.any():
                _dot(axes, _share(called, target == 1), _share(target == 1, called))
        _unit_square(axes, "sensitivity (recall)", "precision")
        axes.legend(loc="lower left")
        return _png(figure)


def confusion_figure(
    target: Labels,
    probability: Floats,
    threshold: float,
    names: tuple[str, str] = ("non-COVID", "COVID"),
) -> bytes:
    """The four counts at the operating point, shaded by their share of the true class.

    Args:
        target: (N,) labels, 1 = positive.
        probability: (N,), in [0, 1].
        threshold: at or above it is positive.
        names: of the negative and the positive class.
    """
    called = (probability >= threshold).astype(int)
    counts = np.array([[np.sum((target == t) & (called == c)) for c in (1, 0)] for t in (1, 0)])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with rc_context(_STYLE):
        figure, axes = _canvas(5.2, 4.4)
        shades = LinearSegmentedColormap.from_list("shades", ("#f3f7fa", BLUE))
        axes.imshow(shares, cmap=shades, vmin=0, vmax=1, aspect="auto")
        for row in range(2):
            for column in range(2):
                share = shares[row, column]
                colour = "white" if share > 0.55 else INK
                place: dict[str, Any] = {"ha": "center", "color": colour}
                axes.text(column, row, f"{counts[row, column]}", size=20, va="bottom", **place)
                axes.text(
                    column, row + 0.1, f"{100 * share:.0f} % of the row", size=9, va="top", **place
                )
        axes.set_xticks((0, 1), (f"called {names[1]}", f"called {names[0]}"))
        axes.set_yticks((0, 1), (f"is {names[1]}", f"is {names[0]}"), rotation=90, va="center")
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.axhline(0.5, color="white", linewidth=4)
        axes.axvline(0.5, color="white", linewidth=4)
        return _png(figure)


def reliability_figure(target: Labels, probability: Floats, bins: int = 10) -> bytes:
    """Observed share of positives against the probability given, and the entries of each bin.

    A line is the 95 % Wilson interval of the share, for entries taken as independent.

    Args:
        target: (N,) labels, 1 = positive.
        probability: (N,), in [0, 1].
        bins: of equal width.
    """
    index = np.minimum((np.asarray(probability) * bins).astype(int), bins - 1)
    counts = np.bincount(index, minlength=bins)
    filled = counts > 0
    n = counts[filled]
    mean = np.bincount(index, weights=probability, minlength=bins)[filled] / n
    share = np.bincount(index, weights=target, minlength=bins)[filled] / n
    with rc_context(_STYLE):
        figure, main = _canvas(5.2, 5.8)
        below = main.inset_axes((0.0, -0.32, 1.0, 0.16), sharex=main)
        main.plot((0, 1), (0, 1), color=QUIET, linewidth=1, linestyle=(0, (2, 3)))
        main.errorbar(mean, share, yerr=_wilson(share, n), color=BLUE, marker="o", elinewidth=1.5)
        _unit_square(main, "probability given", "observed share of positives")
        edges = np.arange(bins) / bins
        bars = below.bar(edges, counts, 0.92 / bins, align="edge", color=BLUE, alpha=0.35)
        below.bar_label(bars, size=7.5, color=QUIET, padding=1)
        below.set(yticks=(), xlabel="entries in each bin")
        below.margins(y=0.3)
        below.tick_params(labelbottom=False, length=0)
        below.grid(visible=False)
        below.spines["left"].set_visible(False)
        return _png(figure)


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
    with rc_context(_STYLE):
        figure, axes = _canvas(6.0, 3.4)
        if width > 1:
            axes.plot(x, y, color=BLUE, alpha=0.25, linewidth=0.8)
        marker = "o" if len(y) == 1 else None
        axes.plot(x, _running_mean(y, width), color=BLUE, label="training", marker=marker)
        if validation is not None and len(validation[0]):
            axes.plot(*validation, color=ORANGE, marker="o", markersize=4, label="validation")
            axes.legend(loc="best")
        axes.set(xlabel="step", ylabel=quantity)
        axes.margins(x=0.02)
        return _png(figure)


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
    with rc_context(_STYLE):
        figure, axes = _canvas(6.4, height)
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
        return _png(figure)


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


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one panel, size in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(width, height), dpi=_DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    # Without the name and version of the writer the same numbers give the same bytes.
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def _looks() -> list[dict[str, Any]]:
    """The model in a strong line, its rivals broken, so that grey print tells them apart."""
    return [
        {"color": BLUE, "zorder": 3},
        {"color": ORANGE, "linestyle": (0, (4, 2)), "linewidth": 1.6},
        {"color": GREEN, "linestyle": (0, (1, 1)), "linewidth": 1.8},
    ]


def _legend(one: Rated) -> str:
    if one.estimate is None:
        return one.name
    value, low, high = one.estimate
    return f"{one.name}: {value:.3f} ({low:.3f} to {high:.3f})"


def _dot(axes: Axes, x: float, y: float) -> None:
    axes.plot(
        x,
        y,
        "o",
        color="white",
        markeredgecolor=BLUE,
        markeredgewidth=2,
        markersize=8,
        zorder=4,
        label="operating point",
    )


def _share(what: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    """Share of true entries of `what` among those marked in `among`."""
    return float(what[among].mean())


def _unit_square(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x_label, ylabel=y_label)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_box_aspect(1)


def _wilson(share: Floats, n: NDArray[np.integer]) -> NDArray[np.float64]:
    """Distances (2, B) from a share down and up to the ends of its 95 % Wilson interval."""
    z = 1.96
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return np.maximum(np.stack((share - centre + half, centre + half - share)), 0)


def _running_mean(values: Floats, width: int) -> Floats:
    """Mean over `width` neighbours (fewer at both ends), same length."""
    ones = np.ones(width)
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")
