"""Small models that know how far a scan is from those that they learnt from, and their scans."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from covidssl.calibration import Calibration
from covidssl.diagnosis import pooled_features
from covidssl.frames import Frame
from covidssl.hounsfield import LUNG_WINDOW_HU, Pixels, hu_to_unit
from covidssl.lungs import segment_lungs
from covidssl.model import Aggregation, ModelCard, save_model
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.out_of_distribution import distance_limit, fit_training_features
from covidssl.phantom import phantom_chest
from covidssl.randomness import initial_weights, torch_generator
from covidssl.scan_frames import frames_of_scan
from covidssl.volume import Volume
from covidssl.weights import Origin

PICTURES = Frame(size=32, pixels=Pixels.WINDOWED)
SCANS = Frame(size=32, pixels=Pixels.HU)
TRAIN, VALIDATION, HELD_OUT = range(30), range(100, 130), range(200, 230)
CPU = torch.device("cpu")


@cache
def scan(seed: int) -> Volume:
    """A whole chest in HU, 12 slices of 10 mm."""
    return phantom_chest(seed, bool(seed % 2), (12, 48, 48), (20.0, 7.2, 7.2)).ct


@cache
def picture(seed: int) -> Volume:
    """A slice of it, as a grey picture."""
    hu = phantom_chest(seed, bool(seed % 2), (3, 64, 64), (40.0, 5.4, 5.4)).ct.array[1]
    return grey(255 * hu_to_unit(hu, LUNG_WINDOW_HU))


def grey(pixels: NDArray[np.generic]) -> Volume:
    """A picture of one slice (Y, X) of values 0 to 255."""
    rounded = np.rint(np.clip(pixels.astype(np.float64), 0, 255)).astype(np.uint8)
    return Volume(rounded[None], Pixels.WINDOWED)


def write_model(
    folder: Path, frame: Frame = PICTURES, seed: int = 1, far: bool = True, **card: object
) -> Path:
    """A model whose head is drawn; with `far` its distances are those of phantoms."""
    with initial_weights(seed):
        network = CovidClassifier(
            build_encoder(EncoderPlan(channels=(8, 8), groups=4, dimensions=frame.dimensions))
        )
    features = network.head.in_features
    weight = torch.randn(features, generator=torch_generator(seed, 8)) / features**0.5
    network.set_head(weight, torch.tensor(0.1))
    whole = {
        "classes": ("normal", "COVID"),
        "encoder": EncoderPlan(channels=(8, 8), groups=4, dimensions=frame.dimensions),
        "frame": frame,
        "operating_point": 0.4,
        "operating_point_rule": "Youden",
        "calibration": Calibration(1.5, -0.25),
        "aggregation": Aggregation(rule="whole_volume" if frame.depth else "mean", most_slices=5),
        "burden_threshold": 0.07,
        "pretrained_from": "none",
        "trained_on": Origin(data_fingerprint="none", pictures=0, steps=0, seed=0),
        "metrics": {},
        "files": {},
    }
    found = None
    if far:
        found = fit_training_features(features_of(network, TRAIN))
        distances = found.distance(features_of(network, VALIDATION))
        whole["distance"] = distance_limit(distances)
    made = ModelCard.model_validate(whole | card)
    save_model(folder, made, network.state_dict(), None, features=found)
    return folder


def features_of(network: CovidClassifier, seeds: range) -> NDArray[np.float32]:
    """Pooled features (S, F) of pictures."""
    frames = []
    for seed in seeds:
        ct = picture(seed)
        frames.append(frames_of_scan(ct, segment_lungs(ct), PICTURES).frames)
    return pooled_features(network, np.concatenate(frames), CPU)
