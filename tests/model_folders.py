"""Model folders whose networks have learnt nothing."""

from __future__ import annotations

from pathlib import Path

from covidssl.calibration import Calibration
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.model import Aggregation, ModelCard, save_model
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.weights import Origin


def write_untrained_model(folder: Path) -> Path:
    """A small model of windowed slices in `folder`; its scores mean nothing."""
    plan = EncoderPlan(channels=(8, 8), groups=4)
    card = ModelCard(
        classes=("normal", "COVID"),
        encoder=plan,
        frame=Frame(size=32, pixels=Pixels.WINDOWED),
        operating_point=0.5,
        operating_point_rule="none",
        calibration=Calibration(),
        aggregation=Aggregation(),
        burden_threshold=0.07,
        pretrained_from="none",
        trained_on=Origin(data_fingerprint="none", pictures=0, steps=0, seed=0),
        metrics={},
        files={},
    )
    save_model(folder, card, CovidClassifier(build_encoder(plan)).state_dict(), None)
    return folder
