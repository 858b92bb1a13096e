"""The two pictures of `pipelines.lesion_realism`: patches side by side, and distributions."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from covidssl.figures.style import INK, PALETTE, QUIET, STYLE
from covidssl.realism import Lesions
from covidssl.realism.descriptors import BINS_HU, Described
from covidssl.realism.regions import PATCH_PX
from pipelines.realism_table import ATTRIBUTION

WINDOW_HU = (-1000.0, 150.0)
_COLUMNS = 9
_LEAST_SHOWN_MM = 12.0
_SCALE = 2
_BARS = {
    "diameter_mm": "equivalent diameter, mm",
    "depth_mm": "mean depth under the pleura, mm",
    "edge_hu_per_mm": "slope across the border, HU/mm",
    "edge_width_mm": "width of the border, mm",
    "texture_sd_hu": "standard deviation inside, HU",
    "spectrum_slope": "slope of the power spectrum",
}


def patch_sheet(groups: Mapping[str, Lesions]) -> bytes:
    """A row of patches a group, from small lesions to large ones, all in one window; PNG."""
    rows = {name: _row(lesions) for name, lesions in groups.items() if lesions.found}
    edge = PATCH_PX * _SCALE
    width, height = (_COLUMNS * edge + 130) / 100, (len(rows) * edge + 46) / 100
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
        FigureCanvasAgg(figure)
        left, foot = 130 / (width * 100), 46 / (height * 100)
        axes = figure.add_axes((left, foot, 1 - left, 1 - foot))
        axes.imshow(np.concatenate(list(rows.values())), cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
        for k, name in enumerate(rows):
            axes.text(
                -6, (k + 0.5) * edge, name, size=11, color=INK, ha="right", va="center",
                weight="bold" if name.startswith("real") else "normal",
            )  # fmt: skip
        window = f"Nominal HU {WINDOW_HU[0]:.0f} to {WINDOW_HU[1]:.0f}, patches some 66 mm wide."
        figure.text(0.01, 24 / (height * 100), window, size=8.5, color=QUIET)
        figure.text(0.01, 8 / (height * 100), ATTRIBUTION, size=8.5, color=QUIET)
        return _small_png(figure)


def distribution_figure(groups: Mapping[str, Described]) -> bytes:
    """Densities of pixels inside and around, and quantiles of the other descriptors; PNG."""
    looks = _looks(list(groups))
    with rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
        figure = Figure(figsize=(10.5, 11.0), dpi=110, layout=layout, facecolor="white")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(4, 2, height_ratios=(1.25, 1, 1, 1))
        panels = [figure.add_subplot(grid[k // 2, k % 2]) for k in range(8)]
        titles = ("pixels inside, nominal HU", "pixels 2 to 8 mm outside, nominal HU")
        for axes, title, which in zip(panels[:2], titles, ("inside", "ring"), strict=True):
            for name, group in groups.items():
                _density(axes, getattr(group, which), looks[name], name)
            axes.set(xlabel=title, yticks=(), xlim=(-1000, 140))
            axes.spines["left"].set_visible(False)
        panels[1].legend(loc="upper right", fontsize=8)
        for axes, (name, title) in zip(panels[2:], _BARS.items(), strict=True):
            _quantiles(axes, {key: group.column(name) for key, group in groups.items()}, looks)
            axes.set_xlabel(title)
        note = "Dot: median; thick line: middle half; thin line: 10th to 90th percentile."
        figure.supxlabel(f"{note}\n{ATTRIBUTION}", size=8.5, color=QUIET)
        return _small_png(figure)


def _row(lesions: Lesions) -> NDArray[np.uint8]:
    diameter = lesions.described.column("diameter_mm")
    large = np.flatnonzero(diameter >= _LEAST_SHOWN_MM)
    order = large[np.argsort(diameter[large])] if len(large) >= _COLUMNS else np.argsort(diameter)
    chosen = order[np.linspace(0, len(order) - 1, _COLUMNS).round().astype(int)]
    patches = np.concatenate([lesions.found[k].patch for k in chosen], axis=1)
    unit = (patches - WINDOW_HU[0]) / (WINDOW_HU[1] - WINDOW_HU[0])
    grey = Image.fromarray((unit.clip(0, 1) * 255).astype(np.uint8))
    large_grey = grey.resize((grey.width * _SCALE, grey.height * _SCALE), Image.Resampling.BICUBIC)
    return np.asarray(large_grey)


def _looks(names: list[str]) -> dict[str, dict[str, object]]:
    """Real groups in black, dashed where there are two; the others in the palette's order."""
    real = [name for name in names if name.startswith("real")]
    others = [name for name in names if name not in real]
    looks: dict[str, dict[str, object]] = {
        name: {"color": INK, "linewidth": 2.6, "linestyle": ("-", (0, (3, 1.2)))[k % 2]}
        for k, name in enumerate(real)
    }
    for k, name in enumerate(others):
        style = "-" if k < len(PALETTE) else (0, (1, 1))
        looks[name] = {"color": PALETTE[k % len(PALETTE)], "linewidth": 1.5, "linestyle": style}
    return looks


def _density(axes: Axes, shares: NDArray[np.float64], look: dict[str, object], name: str) -> None:
    known = shares[np.isfinite(shares[:, 0])]
    if len(known):
        middles = (BINS_HU[:-1] + BINS_HU[1:]) / 2
        axes.plot(middles, gaussian_filter1d(known.mean(axis=0), 1.2), label=name, **look)  # type: ignore[arg-type]


def _quantiles(
    axes: Axes,
    groups: Mapping[str, NDArray[np.float64]],
    looks: Mapping[str, dict[str, object]],
) -> None:
    for place, (name, values) in enumerate(groups.items()):
        known = values[np.isfinite(values)]
        if not len(known):
            continue
        low, lower, middle, upper, high = np.percentile(known, (10, 25, 50, 75, 90))
        colour = str(looks[name]["color"])
        axes.plot((low, high), (place, place), color=colour, linewidth=1.2)
        axes.plot((lower, upper), (place, place), color=colour, linewidth=4.5)
        axes.plot(middle, place, "o", color="white", markeredgecolor=colour, markersize=6)
    axes.set_yticks(range(len(groups)), list(groups))
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _small_png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    small = io.BytesIO()
    with Image.open(content) as picture:
        picture.convert("RGB").quantize(96).save(small, format="png", optimize=True)
    return small.getvalue()
