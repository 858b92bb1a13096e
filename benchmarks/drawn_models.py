"""Models that have learnt nothing: what they say means nothing; it takes as long as any other."""

from __future__ import annotations

from typing import Any

from covidssl.calibration import Calibration
from covidssl.frames import Frame
from covidssl.model import Aggregation, ModelCard
from covidssl.networks.plan import EncoderPlan
from covidssl.weights import Origin


def drawn_card(plan: EncoderPlan, frame: Frame, **entries: Any) -> ModelCard:
    """The card of a model whose weights were drawn; `entries` replace what stands here."""
    values: dict[str, Any] = {
        "classes": ("normal", "COVID"),
        "encoder": plan,
        "frame": frame,
        "operating_point": 0.5,
        "operating_point_rule": "none",
        "calibration": Calibration(),
        "aggregation": Aggregation(),
        "burden_threshold": 0.07,
        "pretrained_from": "none",
        "trained_on": Origin(data_fingerprint="none", pictures=0, steps=0, seed=0),
        "metrics": {},
        "files": {},
    }
    return ModelCard.model_validate(values | entries)
