"""How good an encoder was at each evaluation while it was pretrained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from covidssl.errors import DataError
from covidssl.figures.style import BLUE, GREEN, ORANGE, PALETTE, QUIET, STYLE, png

_AUROC = {
    "probe_auroc": ("linear probe", BLUE),
    "knn_auroc": ("k-NN", PALETTE[5]),
    "lesion_auroc": ("lesions, by what is lifted off", ORANGE),
    "lesion_map_auroc": ("lesions, by the predicted map", PALETTE[4]),
}
_ERRORS = {
    "error_inside": ("inside lesions", ORANGE),
    "error_outside": ("outside lesions", GREEN),
}
_DPI = 200

Columns = Mapping[str, Sequence[float]]


def quality_figure(steps: Sequence[float], columns: Columns, best: float | None = None) -> bytes:
    """AUROC of probes and of lesions over the steps and, where it restores, errors beside them.

    Args:
        steps: (N,) of the evaluations; step 0 is the network before it has learnt anything.
        columns: (N,) values by their names in `quality.csv`; those not known are not drawn.
        best: step of the best evaluation by the rule; None: not marked.
    """
    shown = [names for names in (_AUROC, _ERRORS) if any(name in columns for name in names)]
    if not len(steps) or not shown:
        raise DataError("A figure of quality needs at least one evaluation with a known number.")
    with rc_context(STYLE):
        figure = Figure(
            figsize=(4.6 * len(shown), 3.4),
            dpi=_DPI,
            layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1),
            facecolor="white",
        )
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        for axes, names in zip(panels, shown, strict=True):
            _draw(axes, steps, {k: v for k, v in columns.items() if k in names}, names)
            if best is not None:
                axes.axvline(best, color=QUIET, linewidth=1, linestyle=":", label="best")
            axes.set_ylabel("AUROC" if names is _AUROC else "error, network units")
            axes.legend(loc="best")
        return png(figure)


def _draw(
    axes: Axes, steps: Sequence[float], columns: Columns, names: Mapping[str, tuple[str, str]]
) -> None:
    for name, values in columns.items():
        label, colour = names[name]
        axes.plot(steps, values, color=colour, label=label, marker="o", markersize=4)
    axes.set_xlabel("step")
    axes.margins(x=0.04)
