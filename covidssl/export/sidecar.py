"""What a graph cannot hold: the rest of the way from a scan to an answer, as JSON."""

from __future__ import annotations

from typing import Any

from covidssl.export.checks import Check
from covidssl.export.scorer import levels_of
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.model import ModelCard
from covidssl.model_page import RULES
from covidssl.version import __version__


def describe(card: ModelCard, check: Check) -> dict[str, Any]:
    """How to use an exported graph: its input, what must be done before and after."""
    frame = card.frame
    axes = "(B, 1, Z, Y, X)" if frame.depth else "(B, 1, Y, X)"
    kind = "HU" if frame.pixels is Pixels.HU else "grey values 0 to 255, windowed"
    outputs = {
        "logit": "(B,), of each frame",
        "probability": f"(B,), of {card.classes[1]}, calibrated",
    }
    if card.head.kind == "attention":
        outputs["attention"] = "(B,), how much each frame counts, before the softmax over a scan"
    return {
        "format": "covidssl-export-1",
        "covidssl": __version__,
        "input": {
            "name": "pixels",
            "shape": axes,
            "type": "float32",
            "values": kind,
            "becomes_0_and_1": list(levels_of(frame)),
            **window_of(frame),
            "orientation": "slices towards the head, rows towards the back, columns towards the "
            "patient's left",
        },
        "outputs": outputs,
        "in_the_graph": ["window", f"resize to {list(frame.shape)}", "network", "calibration"],
        "before": _before(card),
        "after": {
            "scan_logit": RULES[card.aggregation.rule],
            "rule": card.aggregation.rule,
            "scan_probability": card.calibration.formula,
            "calibration": card.calibration.numbers,
            "operating_point": card.operating_point,
            "classes": list(card.classes),
        },
        "check": check._asdict(),
        "intended_use": card.intended_use,
        "licence_note": card.licence_note,
        "model_sha256": card.files,
    }


def window_of(frame: Frame) -> dict[str, Any]:
    """The window in HU, and how HU become the input where that is windowed grey."""
    hu = frame.pixels is Pixels.HU
    mapping = "the graph takes HU" if hu else "255 * clip((hu - low) / (high - low), 0, 1)"
    return {"window_hu": list(frame.window_hu), "from_hu": mapping}


def _before(card: ModelCard) -> dict[str, Any]:
    frame = card.frame
    steps: dict[str, Any] = {"crop": frame.crop, "margin": frame.margin}
    if frame.depth is None:
        steps["slices"] = (
            f"at most {card.aggregation.most_slices}, spread evenly over those whose lungs are at "
            f"least a quarter of the largest slice's"
        )
    else:
        steps["slices"] = "all between the lungs' ends, with the margin"
    steps["spacing"] = (
        "none is asked for: the crop is resized to the frame, whatever its size in mm"
    )
    return steps
