"""What a run must keep to go on."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass
class TrainingState:
    """All that a run must keep to go on.

    Draws, the order of the pictures and the learning rate are functions of (seed, step): of them
    there is nothing to keep.

    Attributes:
        network: whole and plain, whatever it is wrapped in while it learns.
        optimizer: of its parameters.
        step: optimiser steps taken; the next one has this number.
        ema: moving average of the weights, where there is one.
        scaler: of the loss, in precision 16-mixed.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    ema: dict[str, torch.Tensor] | None = field(default=None)
    scaler: dict[str, float] = field(default_factory=dict)

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights worth keeping: the moving average where there is one."""
        return {
            name: tensor.detach().contiguous()
            for name, tensor in (self.ema or self.network.state_dict()).items()
        }
