"""A chest with one dense ball in its right lung, and an answer for it by a model without learning.

The restoration network is the identity, as it begins: it is blind, and the ball is found by its
density alone, so where it must lie in the map is known.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.drawn_models import drawn_card
from covidssl.answers import Answer, Outcome
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.lungs import LEFT, RIGHT, Lungs
from covidssl.lungs.finding import known_spacing
from covidssl.maps import ScanMaps, maps_of
from covidssl.model import Aggregation, Model
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.networks.unet import RestorationUNet
from covidssl.randomness import initial_weights, torch_generator
from covidssl.scan_frames import frames_of_scan
from covidssl.volume import Volume
from tests.scan_files import chest_hu

SLICES, EDGE = 14, 64
THRESHOLD = 0.15
Mask = NDArray[np.bool_]


class Chest(NamedTuple):
    """An upright chest (Z, Y, X): HU, its lungs with all that is in them, and the ball."""

    hu: NDArray[np.int16]
    lungs: Mask
    ball: Mask


class Looked(NamedTuple):
    """What `write_maps` takes as `prepared`."""

    ct: Volume
    lungs: Lungs


class Said(NamedTuple):
    """What `write_maps` takes as `answered`."""

    prepared: Looked
    answer: Answer
    maps: ScanMaps | None


def chest(centre: tuple[int, int, int] = (8, 34, 20), radius: float = 5.0) -> Chest:
    """The chest, the ball about `centre` (z, y, x); slices are as thick as two pixels."""
    hu = chest_hu(SLICES, EDGE)
    lungs = np.asarray(hu < -400) & (np.abs(np.arange(EDGE) - 31.5) < 28)
    lungs &= (np.abs(np.arange(EDGE) - 31.5) < 20)[:, None]
    z, y, x = np.ogrid[:SLICES, :EDGE, :EDGE]
    far = (2 * (z - centre[0])) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
    ball = np.asarray(far <= radius**2) & lungs
    return Chest(np.where(ball, np.int16(30), hu), lungs, ball)


def untaught(depth: int | None = None, restores: bool = True) -> Model:
    """A model whose classifier has drawn weights, and whose restoration is the identity."""
    plan = EncoderPlan(channels=(8, 16), groups=4, dimensions=2 if depth is None else 3)
    with initial_weights(1):
        classifier = CovidClassifier(build_encoder(plan))
        restoration = RestorationUNet(build_encoder(plan)) if restores else None
    size = classifier.feature_mean.shape
    draw = torch_generator(2)
    import torch

    classifier.set_head(torch.randn(size, generator=draw), torch.tensor(0.3))
    card = drawn_card(
        plan,
        Frame(size=32, depth=depth, pixels=Pixels.HU, margin=0.05),
        aggregation=Aggregation(rule="mean" if depth is None else "whole_volume", most_slices=4),
        burden_threshold=THRESHOLD,
    )
    return Model(card, classifier, restoration)


def lungs_as_known(ct: Volume, lungs: Mask) -> Lungs:
    """The lungs of a chest as they were drawn: the patient's right is on the picture's left."""
    sides = np.where(np.arange(lungs.shape[2]) < lungs.shape[2] / 2, RIGHT, LEFT) * lungs
    share = lungs.mean(axis=(1, 2)).astype(np.float32)
    known = known_spacing(ct) is not None
    return Lungs(ct.mask(lungs), share, None, sides.astype(np.uint8), (), known)


def said_of(ct: Volume, lungs: Mask, model: Model) -> Said:
    """The answer with its maps."""
    known = lungs_as_known(ct, lungs)
    cut = frames_of_scan(ct, known, model.card.frame, model.card.aggregation.most_slices)
    weight = np.full(len(cut.frames), 1 / len(cut.frames))
    maps = maps_of(model, ct, known, cut, weight)
    answer = Answer(
        scan="scan", outcome=Outcome.OK, probability=0.25, burden=maps.burden, model="ab" * 32
    )
    return Said(Looked(ct, known), answer, maps)
