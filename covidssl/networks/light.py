"""A light encoder for CPUs, of inverted residuals (Sandler et al. 2018, MobileNetV2)."""

from __future__ import annotations

import torch
from torch import nn

from covidssl.networks.encoder import EncoderOfLevels, memory_format
from covidssl.networks.norms import norm_of
from covidssl.networks.plan import EncoderPlan

# How much wider a block is inside than at its ends, and blocks of each level but the first.
_EXPANSION, _BLOCKS = 3, 2


class InvertedResidual(nn.Sequential):
    """Widen, convolve each channel by itself, narrow: (B, inputs, ...) -> (B, outputs, ...)."""

    def __init__(self, plan: EncoderPlan, inputs: int, outputs: int, stride: int) -> None:
        # MONAI takes seconds to import: not before a network is built.
        from monai.networks.blocks.convolutions import Convolution

        axes, inside = plan.dimensions, _EXPANSION * inputs
        wide, narrow = norm_of(plan, inside), norm_of(plan, outputs)
        super().__init__(
            Convolution(axes, inputs, inside, kernel_size=1, act="relu", norm=wide, bias=False),
            Convolution(
                axes, inside, inside, stride, 3, act="relu", norm=wide, groups=inside, bias=False
            ),
            Convolution(axes, inside, outputs, kernel_size=1, act=None, norm=narrow, bias=False),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        new: torch.Tensor = super().forward(features)
        return features + new if self.adds else new


class LightNetwork(EncoderOfLevels):
    """A convolution of stride 2, then levels of inverted residuals, each half as large."""

    def __init__(self, plan: EncoderPlan) -> None:
        super().__init__()
        from monai.networks.blocks.convolutions import Convolution  # when it is built

        self.plan, self.channels, self.strides = plan, plan.channels, (2, 4, 8, 16, 32)
        first, norm = plan.channels[0], norm_of(plan, plan.channels[0])
        stem = Convolution(plan.dimensions, 1, first, 2, 3, act="relu", norm=norm, bias=False)
        self.levels = nn.ModuleList([stem])
        for inputs, outputs in zip(plan.channels[:-1], plan.channels[1:], strict=True):
            down = InvertedResidual(plan, inputs, outputs, stride=2)
            rest = [InvertedResidual(plan, outputs, outputs, 1) for _ in range(_BLOCKS - 1)]
            self.levels.append(nn.Sequential(down, *rest))
        self.to(memory_format=memory_format(plan.dimensions))  # type: ignore[call-overload]
