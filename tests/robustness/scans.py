"""Scans whose every HU is known, and a model that has an opinion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.drawn_models import drawn_card
from covidssl.altering import Opened, scan_key
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.lungs import Lungs, segment_lungs
from covidssl.model import Aggregation, Model, ModelCard, save_model
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.heads import HeadPlan
from covidssl.networks.plan import EncoderPlan
from covidssl.randomness import initial_weights, torch_generator
from covidssl.splits import Learnt
from covidssl.volume import Volume
from tests.scan_files import chest_grey, chest_hu

KEY = scan_key(0, "scan")
Spacing = tuple[float, float, float]


def volume(array: NDArray[np.generic], spacing_mm: Spacing | None = (2.0, 1.0, 1.0)) -> Volume:
    """HU or, of uint8, grey values; with an affine where the spacing is known."""
    pixels = Pixels.WINDOWED if array.dtype == np.uint8 else Pixels.HU
    affine = None if spacing_mm is None else np.diag([*spacing_mm[::-1], 1.0])
    return Volume(array, pixels, spacing_mm, affine, "scan")


def with_lungs(ct: Volume, mask: NDArray[np.bool_] | None = None) -> Opened:
    """A scan with a mask that was drawn, or without usable lungs."""
    if mask is None:
        empty = np.zeros(ct.array.shape, dtype=bool)
        share = np.zeros(len(ct.array), dtype=np.float32)
        return Opened(ct, Lungs(ct.mask(empty), share, "no lungs", spacing_known=_known(ct)))
    share = mask.mean(axis=(1, 2)).astype(np.float32)
    return Opened(ct, Lungs(ct.mask(mask), share, None, spacing_known=_known(ct)))


def chest(slices: int = 12, spacing_mm: Spacing | None = (10.0, 5.0, 5.0)) -> Opened:
    """A chest in HU with the lungs that are found in it."""
    ct = volume(chest_hu(slices), spacing_mm)
    return Opened(ct, segment_lungs(ct))


def picture() -> Opened:
    """An 8-bit slice without a spacing."""
    ct = volume(chest_grey()[None], None)
    return Opened(ct, segment_lungs(ct))


def card(pixels: Pixels = Pixels.HU, rule: str = "mean", depth: int | None = None) -> ModelCard:
    """Of a small network with this rule."""
    dimensions = 2 if depth is None else 3
    return drawn_card(
        EncoderPlan(channels=(8, 8), groups=4, dimensions=dimensions),
        Frame(size=32, depth=depth, pixels=pixels),
        head=HeadPlan(kind="attention" if rule == "attention" else "linear"),
        aggregation=Aggregation.model_validate({"rule": rule}),
        burden_threshold=0.1,
    )


def model(of: ModelCard, seed: int = 3) -> Model:
    """With a head that was drawn, so that what it sees changes what it says."""
    with initial_weights(seed):
        network = CovidClassifier(build_encoder(of.encoder), of.head)
    generator = torch_generator(seed)
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if name.startswith(("head", "attention")):
                weights.copy_(torch.randn(weights.shape, generator=generator))
    network.eval()
    return Model(of, network, None)


def write_model(
    folder: Path,
    pixels: Pixels = Pixels.HU,
    seed: int = 3,
    learnt: Learnt | None = None,
    **said: object,
) -> Path:
    """The folder of a run with such a model; `said` goes into its card."""
    of = card(pixels).model_copy(update=said)
    save_model(folder / "model", of, model(of, seed).classifier.state_dict(), None, learnt)
    return folder


def _known(ct: Volume) -> bool:
    return ct.spacing_mm is not None
