"""The encoder: the part of the network that is taught by restoration and handed on to diagnosis."""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn


class EncoderPlan(BaseModel):
    """Architecture of an encoder; written in its card, so that it can be built again.

    Attributes:
        kind: the family; `unet` is the plain contracting path (Ronneberger et al. 2015).
        channels: features of each level; every level halves the picture of the one before.
        groups: groups of each GroupNorm, which unlike BatchNorm keeps a picture's features
            independent of the batch it is in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["unet"] = "unet"
    channels: tuple[int, ...] = Field((16, 32, 64, 96, 128), min_length=2)
    groups: int = Field(8, ge=1)

    @model_validator(mode="after")
    def _groups_are_whole(self) -> Self:
        wrong = [n for n in self.channels if n < 1 or n % min(self.groups, n)]
        if wrong:
            raise ValueError(f"{wrong[0]} channels cannot be cut into {self.groups} groups")
        return self

    @property
    def stride(self) -> int:
        """The edge of a picture must be a multiple of this."""
        return int(2 ** (len(self.channels) - 1))


def double_convolution(inputs: int, outputs: int, groups: int, stride: int = 1) -> nn.Sequential:
    """Two 3 x 3 convolutions, GroupNorm, LeakyReLU: (B, inputs, H, W) -> (B, outputs, ..)."""
    # MONAI takes seconds to import: not before a network is built, so that a typo is told at once.
    from monai.networks.blocks.convolutions import Convolution

    norm = ("group", {"num_groups": min(groups, outputs)})
    act = ("leakyrelu", {"negative_slope": 0.01})
    return nn.Sequential(
        Convolution(2, inputs, outputs, strides=stride, kernel_size=3, act=act, norm=norm),
        Convolution(2, outputs, outputs, strides=1, kernel_size=3, act=act, norm=norm),
    )


class Encoder(nn.Module):
    """(B, 1, H, W) in [0, 1] -> one feature map a level, (B, channels[k], H / 2^k, W / 2^k)."""

    def __init__(self, plan: EncoderPlan) -> None:
        super().__init__()
        self.plan = plan
        self.channels = plan.channels
        before = (1, *plan.channels[:-1])
        self.levels = nn.ModuleList(
            double_convolution(inputs, outputs, plan.groups, stride=1 if level == 0 else 2)
            for level, (inputs, outputs) in enumerate(zip(before, plan.channels, strict=True))
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, unit: torch.Tensor) -> list[torch.Tensor]:
        if unit.ndim != 4 or unit.shape[1] != 1:
            raise ValueError(f"An encoder takes (B, 1, H, W), got {tuple(unit.shape)}.")
        if unit.shape[2] % self.plan.stride or unit.shape[3] % self.plan.stride:
            raise ValueError(
                f"Picture edges {tuple(unit.shape[2:])} must be multiples of {self.plan.stride} "
                f"for {len(self.channels)} levels; change the frame's size (config: frame.size)."
            )
        # Centred, so that air is -1 and soft tissue about +0.4.
        # Channels last: twice as fast on a CPU.
        features = (unit * 2.0 - 1.0).contiguous(memory_format=torch.channels_last)
        levels = []
        for level in self.levels:
            features = level(features)
            levels.append(features)
        return levels
