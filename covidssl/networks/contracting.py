"""The plain contracting path of a U-Net (Ronneberger et al. 2015), for slices and volumes."""

from __future__ import annotations

from torch import nn

from covidssl.networks.encoder import EncoderOfLevels, memory_format
from covidssl.networks.norms import norm_of
from covidssl.networks.plan import EncoderPlan


def double_convolution(
    plan: EncoderPlan, inputs: int, outputs: int, stride: int = 1
) -> nn.Sequential:
    """Two 3 x 3 convolutions, norm, LeakyReLU: (B, inputs, ...) -> (B, outputs, ...)."""
    # MONAI takes seconds to import: not before a network is built, so that a typo is told at once.
    from monai.networks.blocks.convolutions import Convolution

    axes, norm = plan.dimensions, norm_of(plan, outputs)
    act = ("leakyrelu", {"negative_slope": 0.01})
    return nn.Sequential(
        Convolution(axes, inputs, outputs, strides=stride, kernel_size=3, act=act, norm=norm),
        Convolution(axes, outputs, outputs, strides=1, kernel_size=3, act=act, norm=norm),
    )


class ContractingPath(EncoderOfLevels):
    """Every level halves the picture of the one before; the first keeps its size."""

    def __init__(self, plan: EncoderPlan) -> None:
        super().__init__()
        self.plan, self.channels = plan, plan.channels
        self.strides = tuple(2**level for level in range(len(plan.channels)))
        before = (1, *plan.channels[:-1])
        self.levels = nn.ModuleList(
            double_convolution(plan, inputs, outputs, stride=1 if level == 0 else 2)
            for level, (inputs, outputs) in enumerate(zip(before, plan.channels, strict=True))
        )
        self.to(memory_format=memory_format(plan.dimensions))  # type: ignore[call-overload]
