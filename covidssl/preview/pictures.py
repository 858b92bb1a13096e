"""Planes as PNG, outlines and histograms as paths of an SVG: what the page is drawn with."""

from __future__ import annotations

import io

import numpy as np
from contourpy import contour_generator
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from covidssl.hounsfield import LUNG_WINDOW_HU, hu_to_unit

Plane = NDArray[np.float32]

HU_ENDS = (-1000.0, 200.0)
"""Ends of the histograms; what lies outside counts into the first and the last bin."""

DIFFERENCE_HU = 600.0
"""A difference that is shown in the full red or blue, on the page and on the sheet."""

CHART = (240, 90)
"""Width and height of a histogram in units of its SVG."""

_BINS = 60


def grey_png(hu: Plane) -> bytes:
    """HU (H, W) through the lung window, as grey PNG."""
    grey = np.rint(hu_to_unit(hu, LUNG_WINDOW_HU) * 255).astype(np.uint8)
    return _png(Image.fromarray(grey))


def difference_png(difference_hu: Plane) -> bytes:
    """A difference (H, W) in HU: what was added is red, what was taken away blue."""
    share = np.clip(difference_hu / DIFFERENCE_HU, -1, 1)
    # An even number of steps to either side of 0, so that nothing is exactly white.
    picture = Image.fromarray(np.rint(share * 127 + 127).astype(np.uint8), mode="P")
    colours = colormaps["RdBu_r"](np.linspace(0, 1, 255), bytes=True)[:, :3]
    picture.putpalette(colours.tobytes())
    return _png(picture)


def outline(share: Plane) -> str:
    """The half-way line of a plane (H, W) in [0, 1] as SVG path, in pixels; empty without one."""
    # A border of 0, so that what reaches the picture's edge is closed along it.
    padded = np.pad(share, 1)
    lines = contour_generator(z=padded).lines(0.5)
    return "".join(
        "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in np.asarray(line, dtype=np.float64) - 0.5)
        for line in lines
    )


def shares(hu: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share of voxels in each bin of HU between `HU_ENDS`; all 0 without voxels."""
    counts, _ = np.histogram(np.clip(hu, *HU_ENDS), bins=_BINS, range=HU_ENDS)
    return counts / max(counts.sum(), 1)


def steps(values: NDArray[np.float64], highest: float) -> str:
    """Shares a bin as the SVG path of a closed staircase in a `CHART` whose top is `highest`."""
    width, height = CHART
    y = height * (1 - values / highest) if highest > 0 else np.full(len(values), float(height))
    right = width * np.arange(1, len(values) + 1) / len(values)
    stairs = "".join(f"V{up:.1f}H{to:.0f}" for up, to in zip(y, right, strict=True))
    return f"M0 {height}{stairs}V{height}Z"


def place_of(hu: float) -> float:
    """Where an HU lies across a `CHART`."""
    low, high = HU_ENDS
    return CHART[0] * (hu - low) / (high - low)


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, format="PNG", optimize=True)
    return content.getvalue()
