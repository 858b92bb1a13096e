"""What trivial models see of a picture: sizes, borders, histograms, thumbnails; never disease.

Each view leaves something out on purpose, so that what is left can be blamed for what a model on
it finds: without the lungs, without the window, without anything but the outline of the lungs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from covidssl.rivals import BINS, THUMBNAIL, thumbnail_features

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

FINE = 16
PERCENTILES = (1, 5, 10, 25, 40, 60, 75, 90, 95, 99)
WIDTHS = {
    "border": 13,
    "percentiles": len(PERCENTILES),
    "rival": THUMBNAIL * THUMBNAIL + BINS,
    "fine": FINE * FINE,
    "ranked": THUMBNAIL * THUMBNAIL,
    "inside": BINS,
    "outside": BINS,
    "blanked": THUMBNAIL * THUMBNAIL,
    "ranked_lungs": THUMBNAIL * THUMBNAIL,
    "shape": THUMBNAIL * THUMBNAIL,
    "own_scale": BINS,
}
"""Numbers of each view; `rival` is the 12 x 12 thumbnail and, after it, the whole histogram."""

_RIM = 0.02  # of the shorter edge: the lungs' rim, and the width of the border
_LEVELS = 4096
_OWN_RANGE = (-3.0, 5.0)  # in interquartile ranges from the median of the image's own lung


def views_of(picture: Floats, lungs: Mask | None) -> dict[str, Floats]:
    """All views of one picture.

    Args:
        picture: (Y, X) in [0, 1].
        lungs: (Y, X); None where no plausible lungs were found: the views that need them are NaN.

    Returns:
        Name of each view to its float32 numbers, as long as `WIDTHS` says.
    """
    ranks = equalised(picture)
    views = {
        "border": _border(picture),
        "percentiles": np.percentile(picture, PERCENTILES).astype(np.float32),
        "rival": thumbnail_features(picture),
        "fine": _standardised(_shrunk(picture, FINE)),
        "ranked": _shrunk(ranks, THUMBNAIL),
    }
    return views | _lung_views(picture, ranks, lungs)


def equalised(picture: Floats) -> Floats:
    """Each pixel as its rank within the picture, in [0, 1]: no window changes it."""
    level = np.rint(picture * (_LEVELS - 1)).astype(np.int64)
    counts = np.bincount(level.ravel(), minlength=_LEVELS)
    middle = (np.cumsum(counts) - counts / 2) / picture.size
    ranks: Floats = middle[level].astype(np.float32)
    return ranks


def _lung_views(picture: Floats, ranks: Floats, lungs: Mask | None) -> dict[str, Floats]:
    names = ("inside", "outside", "blanked", "ranked_lungs", "shape", "own_scale")
    if lungs is None or not lungs.any():
        return {name: np.full(WIDTHS[name], np.nan, np.float32) for name in names}
    width = 2 * max(1, round(_RIM * min(picture.shape))) + 1
    # Without its rim, so that a lung drawn a little small does not show outside of itself.
    body = ndimage.maximum_filter(lungs.view(np.uint8), width) == 0
    if not body.any():
        body = ~lungs
    return {
        "inside": _histogram(picture[lungs]),
        "outside": _histogram(picture[body]),
        "blanked": _shrunk(np.where(body, picture, 0).astype(np.float32), THUMBNAIL),
        "ranked_lungs": _shrunk(np.where(lungs, ranks, 0).astype(np.float32), THUMBNAIL),
        "shape": _shrunk(lungs.astype(np.float32), THUMBNAIL),
        "own_scale": _scaled_by_own(picture[lungs]),
    }


def _border(picture: Floats) -> Floats:
    width = max(1, round(_RIM * min(picture.shape)))
    ring = np.ones(picture.shape, np.bool_)
    ring[width:-width, width:-width] = False
    edge = picture[ring]
    near, far = slice(None, width), slice(-width, None)
    corners = [picture[y, x].mean() for y in (near, far) for x in (near, far)]
    sides = [picture[side].mean() for side in (near, far)]
    sides += [picture[:, side].mean() for side in (near, far)]
    ends = [np.mean(edge <= 1 / 255), np.mean(edge >= 254 / 255)]
    return np.array([*corners, *sides, edge.mean(), edge.std(), np.median(edge), *ends], np.float32)


def _shrunk(picture: Floats, size: int) -> Floats:
    image = Image.fromarray(np.ascontiguousarray(picture, dtype=np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.BOX), np.float32).ravel()


def _standardised(values: Floats) -> Floats:
    spread = float(values.std())
    found: Floats = (values - values.mean()) / (spread if spread > 1e-6 else 1.0)
    return found


def _histogram(values: Floats, span: tuple[float, float] = (0.0, 1.0)) -> Floats:
    counts, _ = np.histogram(values, bins=BINS, range=span)
    return (counts / max(values.size, 1)).astype(np.float32)


def _scaled_by_own(values: Floats) -> Floats:
    low, middle, high = np.percentile(values, (25, 50, 75))
    scaled = (values - middle) / max(high - low, 1e-3)
    return _histogram(np.clip(scaled, *_OWN_RANGE).astype(np.float32), _OWN_RANGE)
