"""Thresholds fixed beforehand: on pseudo-lesions in slices kept apart for it.

A network whose pretraining was watched has learnt nothing from these slices. One that was not, as
those of the reproduction, has learnt from all of the store: the records and the page say which.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from covidssl.clean_slices import StoredPictures
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.lesions import LesionRanges
from covidssl.maps.lesion import Looked
from covidssl.pretext import CleanSlices
from covidssl.quality.held_out import HeldOut, hold_out
from covidssl.quality.lesion_set import draw_lesion_set
from covidssl.quality.plan import QualityPlan
from pipelines.localising.measuring import best_threshold
from pipelines.localising.scores import Planes, smooth

DRAWS = 4
"""Pseudo-lesions drawn on each slice that is kept apart."""

DENSE_HU = -450.0
"""The annotation marks the dense part of lesions: of a pseudo-lesion, what is denser than this,
smoothed by a pixel. Chosen by what is marked on cases 1 and 3, which are for design: so much the
labels of real lesions have to say in the thresholds."""


class Drawn(NamedTuple):
    """Pseudo-lesions on slices that are kept apart.

    Attributes:
        looked: the slices with lesions as frames.
        dense: (N, size, size) bool, the dense part of the lesions inside the lungs.
        inside: (N, size, size) bool, the lungs.
    """

    looked: Looked
    dense: NDArray[np.bool_]
    inside: NDArray[np.bool_]


def kept_apart(pictures: StoredPictures) -> HeldOut:
    """Which slices of the store every watched pretraining holds out, and PCA as well."""
    return hold_out(pictures, QualityPlan())


def has_learnt_from(pictures: StoredPictures, plan: QualityPlan) -> bool:
    """Whether a pretraining with this plan learnt from slices that thresholds are set on."""
    learnt = hold_out(pictures, plan).learnt
    return bool(np.isin(kept_apart(pictures).drawn_on, learnt).any())


def draw_on(pictures: StoredPictures, held: HeldOut, frame: Frame) -> Drawn:
    """Pseudo-lesions of preset `covid` on the slices that are kept apart."""
    items = [pictures[int(place)] for place in held.drawn_on] * DRAWS
    clean = CleanSlices(*(torch.stack(parts) for parts in zip(*items, strict=True)))
    drawn = draw_lesion_set(clean, LesionRanges(), frame.window_hu)
    unit, inside = drawn.corrupted[:, 0].numpy(), drawn.lungs[:, 0].numpy()
    low, high = frame.window_hu
    dense = smooth(low + unit * (high - low)) > DENSE_HU
    looked = Looked(
        np.rint(unit * 65535).astype(np.uint16),
        inside.astype(np.float32),
        # LUNA16's slices have one known window, that of the frames.
        Pixels.HU,
        frame.window_hu,
        float(clean.pixel_mm.mean(1).median()),
    )
    return Drawn(looked, drawn.lesion[:, 0].numpy() & dense & inside, inside)


def thresholds(found: Mapping[str, Planes], drawn: Drawn) -> dict[str, float]:
    """For each score, the threshold of the highest Dice on the pseudo-lesions' dense part."""
    target = drawn.dense[drawn.inside]
    return {name: best_threshold(planes[drawn.inside], target)[0] for name, planes in found.items()}
