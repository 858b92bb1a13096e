"""The model itself on images that lack what a shortcut would feed on.

The images are altered as the network sees them: after the crop about the lungs, with the lungs'
mask of the same scan. So a scan is read once, and crop and zoom stay what they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covidssl.audit.views import equalised
from covidssl.diagnosis import FrameScores, scores_of
from covidssl.each_scan import Progress, no_progress
from covidssl.labelled_frames import LabelledFrames
from covidssl.model import Model

Frames = NDArray[np.uint16]
Masks = NDArray[np.bool_]

_RIM = 0.02  # of the edge: so far about the lungs is blanked with them, as in an audit
_AT_ONCE = 256  # frames that are altered together, at most


class View(NamedTuple):
    """One way to see the images.

    Attributes:
        key: its name in files.
        words: what is done to each image.
        needs_lungs: whether scans without usable lungs are left out.
        of: frames (N, [D,] size, size) and the lungs in them to altered frames.
        expected: what a model of lung disease does there: `keeps` its score, or `chance`.
    """

    key: str
    words: str
    needs_lungs: bool
    of: Callable[[Frames, Masks], Frames]
    expected: str


def lungs_only(frames: Frames, lungs: Masks) -> Frames:
    """Everything outside the lungs made black."""
    return np.where(lungs, frames, 0).astype(np.uint16)


def lungs_masked(frames: Frames, lungs: Masks) -> Frames:
    """The lungs and their rim made black; their outline stays."""
    width = 2 * max(1, round(_RIM * frames.shape[-1])) + 1
    window = (1,) * (frames.ndim - 2) + (width, width)
    hidden = ndimage.maximum_filter(lungs.view(np.uint8), window) > 0
    return np.where(hidden, 0, frames).astype(np.uint16)


def ranked(frames: Frames, _lungs: Masks) -> Frames:
    """Each pixel as its rank within its own image: no window is left."""
    planes = frames.reshape(-1, *frames.shape[-2:])
    ranks = [equalised(plane.astype(np.float32) / 65535) for plane in planes]
    return np.rint(np.stack(ranks) * 65535).astype(np.uint16).reshape(frames.shape)


def lungs_only_ranked(frames: Frames, lungs: Masks) -> Frames:
    """Each pixel as its rank within its own image, then everything outside the lungs made black."""
    return lungs_only(ranked(frames, lungs), lungs)


VIEWS = (
    View(
        "lungs_only",
        "lungs only: everything outside the lungs blanked",
        True,
        lungs_only,
        "keeps",
    ),
    View("ranked", "each image rank-equalised", False, ranked, "keeps"),
    View(
        "lungs_only_ranked",
        "rank-equalised, and everything outside the lungs blanked",
        True,
        lungs_only_ranked,
        "keeps",
    ),
    View("lungs_masked", "the lungs masked out", True, lungs_masked, "chance"),
)


def logits_of_views(
    model: Model,
    frames: LabelledFrames,
    places: NDArray[np.int64],
    progress: Progress = no_progress,
) -> dict[str, NDArray[np.float64]]:
    """The model's logits of scans under every view, by its key.

    Args:
        model: on its device.
        frames: loaded with a look, so that the lungs in them are known.
        places: (S,) of the scans, in `frames.scans`, rising.
        progress: shows how far it is.

    Returns:
        (S,) logits a view; NaN where a view needs lungs and the scan has none that are usable.
    """
    which = np.flatnonzero(np.isin(frames.scan_of, places))
    blind = set(frames.without_lungs)
    usable = np.array([frames.scans[place].name not in blind for place in places], np.bool_)
    found = {}
    for view in progress(VIEWS, "scoring altered images", len(VIEWS)):
        scores = _scores(model, frames, which, view)
        logit = np.full(len(places), np.nan)
        for row, place in enumerate(places):
            if usable[row] or not view.needs_lungs:
                one = frames.scan_of[which] == place
                logit[row] = model.card.aggregation.of(scores.logit[one], scores.attention[one])
        found[view.key] = logit
    return found


def _scores(
    model: Model, frames: LabelledFrames, which: NDArray[np.int64], view: View
) -> FrameScores:
    """Scores of altered frames, some at a time, so that few are held twice."""
    least = max(1, _AT_ONCE // int(np.prod(frames.frames.shape[1:-2], initial=1)))
    parts = []
    for start in range(0, len(which), least):
        rows = which[start : start + least]
        altered = view.of(frames.frames[rows], frames.lungs(rows))
        parts.append(scores_of(model.classifier, altered, model.device))
    return FrameScores(*(np.concatenate(kind) for kind in zip(*parts, strict=True)))
