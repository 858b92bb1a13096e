"""How scans are to be answered."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class AnswerPlan(BaseModel):
    """How scans are to be answered.

    Attributes:
        backend: `torch`, or `onnx` for the same graph in onnxruntime; maps are by torch with both.
        force: answer also where the model would abstain, if anything can be shown to it.
        augmentations: test-time augmentations of each scan for its uncertainty; 0 for none.
        maps: whether the lesion map and the evidence map are made.
        seed: of the augmentations.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: Literal["torch", "onnx"] = "torch"
    force: bool = False
    augmentations: int = Field(0, ge=0, le=64)
    maps: bool = True
    seed: int = Field(0, ge=0)
