"""Model folders whose networks have learnt nothing."""

from __future__ import annotations

from pathlib import Path

from benchmarks.drawn_models import drawn_card
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.model import save_model
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan


def write_untrained_model(folder: Path) -> Path:
    """A small model of windowed slices in `folder`; its scores mean nothing."""
    plan = EncoderPlan(channels=(8, 8), groups=4)
    card = drawn_card(plan, Frame(size=32, pixels=Pixels.WINDOWED))
    save_model(folder, card, CovidClassifier(build_encoder(plan)).state_dict(), None)
    return folder
