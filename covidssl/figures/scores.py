"""Figures of a classifier held against labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from covidssl.figures.style import BLUE, GREEN, INK, ORANGE, QUIET, STYLE, canvas, png
from covidssl.metrics import (
    HALF_WIDTH,
    TEN_BINS,
    Bins,
    DecisionCurve,
    Estimate,
    Reliability,
    reliability_curve,
)

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]
_TENTHS = Bins(10)


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


def roc_figure(target: Labels, rated: Sequence[Rated], threshold: float | None = None) -> bytes:
    """ROC curves; a dot marks the operating point of the first classifier.

    Args:
        target: (N,) labels, 1 = positive.
        rated: the model first, then those that it is held against.
        threshold: the model's operating point; None: no dot.
    """
    with rc_context(STYLE):
        figure, axes = canvas(5.2, 5.0)
        axes.plot((0, 1), (0, 1), color=QUIET, linewidth=1, linestyle=(0, (2, 3)))
        for look, one in zip(_looks(), rated, strict=False):
            x, y, _ = roc_curve(target, one.probability)
            axes.plot(x, y, label=_legend(one), **look)
        if threshold is not None:
            called = rated[0].probability >= threshold
            _dot(axes, _share(called, target == 0), _share(called, target == 1))
        _unit_square(axes, "1 − specificity", "sensitivity")
        axes.legend(loc="lower right")
        return png(figure)


def pr_figure(target: Labels, rated: Sequence[Rated], threshold: float | None = None) -> bytes:
    """Precision against sensitivity; the dotted line is the share of positives (chance).

    Args:
        target: (N,) labels, 1 = positive.
        rated: the model first, then those that it is held against.
        threshold: the model's operating point; None: no dot.
    """
    with rc_context(STYLE):
        figure, axes = canvas(5.2, 5.0)
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
        return png(figure)


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
    with rc_context(STYLE):
        figure, axes = canvas(5.2, 4.4)
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
        return png(figure)


def reliability_figure(
    target: Labels, probability: Floats, bins: Bins = TEN_BINS, found: Reliability | None = None
) -> bytes:
    """Observed share of positives against the probability given, and how many were given each.

    A line is the 95 % Wilson interval of the share, for entries taken as independent.

    Args:
        target: (N,) labels, 1 = positive.
        probability: (N,), in [0, 1].
        bins: of the curve.
        found: its numbers stand in the figure; None: no numbers.
    """
    curve = reliability_curve(target, probability, bins)
    n, mean, share = (np.array(column) for column in zip(*curve, strict=True))
    with rc_context(STYLE):
        figure, main = canvas(5.2, 5.8)
        below = main.inset_axes((0.0, -0.32, 1.0, 0.16), sharex=main)
        main.plot((0, 1), (0, 1), color=QUIET, linewidth=1, linestyle=(0, (2, 3)))
        main.errorbar(mean, share, yerr=_wilson(share, n), color=BLUE, marker="o", elinewidth=1.5)
        if found is not None:
            main.set_title(_calibration_text(found), loc="left", size=8)
        _unit_square(main, "probability given", "observed share of positives")
        tenths = _TENTHS.of(np.asarray(probability, np.float64))
        counts = np.bincount(tenths, minlength=_TENTHS.number)
        starts, width = np.arange(_TENTHS.number) / _TENTHS.number, 0.92 / _TENTHS.number
        bars = below.bar(starts, counts, width, align="edge", color=BLUE, alpha=0.35)
        below.bar_label(bars, size=7.5, color=QUIET, padding=1)
        below.set(yticks=(), xlabel="entries in each tenth")
        below.margins(y=0.3)
        below.tick_params(labelbottom=False, length=0)
        below.grid(visible=False)
        below.spines["left"].set_visible(False)
        return png(figure)


def decision_figure(curve: DecisionCurve, name: str = "model") -> bytes:
    """Net benefit against the threshold probability, beside calling all scans positive or none.

    Args:
        curve: with its pointwise 95 % intervals, a band.
        name: of the classifier, for the legend.
    """
    with rc_context(STYLE):
        figure, axes = canvas(5.6, 4.6)
        axes.axhline(0, color=INK, linewidth=1, label="call none positive")
        everyone, model = curve.treat_all.T, curve.model.T
        axes.plot(curve.thresholds, everyone[0], label="call all positive", **_looks()[1])
        axes.fill_between(curve.thresholds, model[1], model[2], color=BLUE, alpha=0.15, linewidth=0)
        axes.plot(curve.thresholds, model[0], label=name, **_looks()[0])
        top = max(curve.prevalence, float(model.max()))
        # Below that everything is harm, and the fall of calling all positive has no end.
        axes.set(xlim=(0, 1), ylim=(-0.25 * top, 1.08 * top))
        axes.set(xlabel="threshold probability", ylabel="net benefit per scan")
        axes.legend(loc="upper right")
        return png(figure)


def _calibration_text(found: Reliability) -> str:
    ece = found.ece
    lines = [f"calibration error ({found.bins}): {ece.value:.3f}", ece.against_chance]
    intervals = found.intervals()
    lines += [
        f"{name}: {intervals[name].value:.2f} "
        f"({intervals[name].low:.2f} to {intervals[name].high:.2f})"
        for name in ("slope", "intercept")
        if name in intervals
    ]
    return "\n".join(lines)


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
    z = HALF_WIDTH
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return np.maximum(np.stack((share - centre + half, centre + half - share)), 0)
