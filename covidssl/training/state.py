"""What a run must keep to go on."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass
class TrainingState:
    """All that a run must keep to go on: network, optimiser, moving average, steps done."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    ema: dict[str, torch.Tensor] | None = field(default=None)

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights worth keeping: the moving average where there is one."""
        return {
            name: tensor.detach().contiguous()
            for name, tensor in (self.ema or self.network.state_dict()).items()
        }
