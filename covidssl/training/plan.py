"""How a network is trained, as configurations say it."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class TrainingPlan(BaseModel):
    """How a network is trained.

    Attributes:
        steps: optimiser steps in all.
        batch_size: pictures a step, of all processes together, however they are accumulated.
        learning_rate: highest rate; every group of parameters scales it.
        weight_decay: of AdamW.
        warmup_steps: steps over which the rate rises linearly, before it falls by a cosine to 0.
        accumulate: parts in which a batch goes through the network; changes memory, and the result
            by rounding alone.
        gradient_clip: largest norm of the gradient; None for no limit.
        ema_decay: of the exponential moving average of the weights; None for none.
        precision: `32-true`; `bf16-mixed` where the device has it; `16-mixed` on CUDA, with a
            scaler of the loss.
        compile: whether the network goes through `torch.compile`.
        workers: processes that read; the result does not depend on their number.
        keep_checkpoints: the last so many stay on disk.
        checkpoint_minutes: a checkpoint is written after so long, however few steps were taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(1000, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    warmup_steps: int = Field(50, ge=0)
    accumulate: int = Field(1, ge=1)
    gradient_clip: float | None = Field(1.0, gt=0)
    ema_decay: float | None = Field(None, gt=0, lt=1)
    precision: Precision = "32-true"
    compile: bool = False
    workers: int = Field(0, ge=0)
    keep_checkpoints: int = Field(2, ge=1)
    checkpoint_minutes: float = Field(10.0, gt=0)

    def rate_at(self, step: int) -> float:
        """Learning rate of optimiser step `step` (from 0): linear warm-up, then a cosine to 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
