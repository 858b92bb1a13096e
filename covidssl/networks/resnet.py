"""Residual networks (He et al. 2015) with torchvision's geometry, for slices and volumes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from covidssl.networks.encoder import Encoder, memory_format
from covidssl.networks.norms import with_norms_of
from covidssl.networks.plan import EncoderPlan

# Kind of block, and how many of them in each of the four layers.
_LAYERS = {"resnet18": ("basic", [2, 2, 2, 2]), "resnet50": ("bottleneck", [3, 4, 6, 3])}


class ResidualNetwork(Encoder):
    """MONAI's ResNet; its first convolution and its four layers each give a level.

    Names inside `net` are torchvision's (`conv1`, `bn1`, `layer1.0.conv1`, ...), whatever the norm,
    and so is the geometry: a first convolution of 7 with stride 2, a max pool, stride in the 3 x 3
    convolution of a bottleneck, shortcuts by a 1 x 1 convolution. There is no last linear layer.
    """

    net: Any  # a ResNet of MONAI, which is imported late

    def __init__(self, plan: EncoderPlan) -> None:
        super().__init__()
        from monai.networks.nets.resnet import ResNet, get_inplanes  # when it is built

        self.plan, self.channels, self.strides = plan, plan.channels, (2, 4, 8, 16, 32)
        block, layers = _LAYERS[plan.kind]
        self.net = ResNet(
            block,
            layers,
            get_inplanes(),
            spatial_dims=plan.dimensions,
            n_input_channels=1,
            conv1_t_size=7,
            conv1_t_stride=2,
            shortcut_type="B",
            bias_downsample=False,
            feed_forward=False,
        )
        with_norms_of(plan, self.net)
        self.to(memory_format=memory_format(plan.dimensions))  # type: ignore[call-overload]

    def levels_of(self, centred: torch.Tensor) -> list[torch.Tensor]:
        net = self.net
        levels = [net.act(net.bn1(net.conv1(centred)))]
        features = net.maxpool(levels[0])
        for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
            features = layer(features)
            levels.append(features)
        return levels

    def stages(self) -> list[list[nn.Module]]:
        net = self.net
        return [[net.conv1, net.bn1], [net.layer1], [net.layer2], [net.layer3], [net.layer4]]
