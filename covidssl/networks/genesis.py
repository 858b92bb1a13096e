"""The contracting path of Models Genesis (Zhou et al. 2019), so that its weights can be taken."""

from __future__ import annotations

import torch
from torch import nn

from covidssl.networks.encoder import EncoderOfLevels, memory_format
from covidssl.networks.norms import norm_of
from covidssl.networks.plan import EncoderPlan


class GenesisPath(EncoderOfLevels):
    """The 3D U-Net of Cicek et al. 2016 with BatchNorm: channels double in a level's second layer.

    Levels are joined by a max pool. arXiv:1908.06912 and arXiv:1606.06650.
    """

    def __init__(self, plan: EncoderPlan) -> None:
        super().__init__()
        self.plan, self.channels = plan, plan.channels
        self.strides = tuple(2**level for level in range(len(plan.channels)))
        before = (1, *plan.channels[:-1])
        self.levels = nn.ModuleList(
            nn.Sequential(_layer(plan, inputs, outputs // 2), _layer(plan, outputs // 2, outputs))
            for inputs, outputs in zip(before, plan.channels, strict=True)
        )
        self.to(memory_format=memory_format(plan.dimensions))  # type: ignore[call-overload]

    def levels_of(self, centred: torch.Tensor) -> list[torch.Tensor]:
        pool = nn.functional.max_pool2d if self.plan.dimensions == 2 else nn.functional.max_pool3d
        levels: list[torch.Tensor] = []
        for level in self.levels:
            levels.append(level(pool(levels[-1], 2) if levels else centred))
        return levels


def _layer(plan: EncoderPlan, inputs: int, outputs: int) -> nn.Module:
    from monai.networks.blocks.convolutions import Convolution  # when a network is built

    norm = norm_of(plan, outputs)
    return Convolution(plan.dimensions, inputs, outputs, kernel_size=3, act="relu", norm=norm)
