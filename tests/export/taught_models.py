"""Model folders of small networks that say something else of every picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from covidssl.calibration import Calibration
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.model import Aggregation, ModelCard, save_model
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.heads import HeadPlan
from covidssl.networks.plan import EncoderPlan
from covidssl.randomness import initial_weights, torch_generator
from covidssl.weights import Origin

SLICES = Frame(size=32, pixels=Pixels.WINDOWED)
HU_SLICES = Frame(size=32, pixels=Pixels.HU, window_hu=(-1100.0, 300.0))
LINEAR = HeadPlan()
HU_VOLUME = Frame(size=32, depth=16, pixels=Pixels.HU)


def card_of(frame: Frame, head: HeadPlan = LINEAR, **encoder: Any) -> ModelCard:
    """A card of a small network for a frame; `encoder` may name another one."""
    plan = {"channels": (8, 8), "groups": 4} if "kind" not in encoder else {}
    rule = "whole_volume" if frame.depth else "attention" if head.kind == "attention" else "mean"
    return ModelCard(
        classes=("normal", "COVID"),
        encoder=EncoderPlan.model_validate(plan | {"dimensions": frame.dimensions, **encoder}),
        head=head,
        frame=frame,
        operating_point=0.4,
        operating_point_rule="Youden",
        calibration=Calibration(1.5, -0.25),
        aggregation=Aggregation.model_validate({"rule": rule, "most_slices": 7}),
        burden_threshold=0.07,
        pretrained_from="none",
        trained_on=Origin(data_fingerprint="ab12", pictures=9, steps=5, seed=3),
        metrics={"validation_auroc": 0.75},
        files={},
    )


def write_taught(folder: Path, card: ModelCard) -> Path:
    """Its head is drawn, so that logits differ from picture to picture."""
    with initial_weights(1):
        classifier = CovidClassifier(build_encoder(card.encoder), card.head)
    generator = torch_generator(8)
    features = classifier.head.in_features
    weight = torch.randn(features, generator=generator) / features**0.5
    classifier.set_head(weight, torch.tensor(0.5))
    if card.head.kind == "attention":
        score = classifier.attention.get_submodule("score").get_parameter("weight")
        with torch.no_grad():
            score.copy_(torch.randn(score.shape, generator=generator))
    save_model(folder, card, classifier.state_dict(), None)
    return folder
