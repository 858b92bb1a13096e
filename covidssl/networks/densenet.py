"""The densely connected network DenseNet-121 (Huang et al. 2017), for slices and volumes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from covidssl.networks.encoder import Encoder, memory_format
from covidssl.networks.norms import with_norms_of
from covidssl.networks.plan import EncoderPlan


class DenseNetwork(Encoder):
    """MONAI's DenseNet121; its first convolution and its four dense blocks each give a level.

    A dense block ends before a norm: a level is taken behind the norm and ReLU that follow it, so
    that its features are of one scale whatever the depth. Names inside `net` are MONAI's.
    """

    net: Any  # a DenseNet121 of MONAI, which is imported late

    def __init__(self, plan: EncoderPlan) -> None:
        super().__init__()
        from monai.networks.nets.densenet import DenseNet121  # when it is built

        self.plan, self.channels, self.strides = plan, plan.channels, (2, 4, 8, 16, 32)
        self.net = DenseNet121(spatial_dims=plan.dimensions, in_channels=1, out_channels=1)
        self.net.class_layers = nn.Identity()
        with_norms_of(plan, self.net)
        self.to(memory_format=memory_format(plan.dimensions))  # type: ignore[call-overload]

    def levels_of(self, centred: torch.Tensor) -> list[torch.Tensor]:
        f = self.net.features
        levels = [f.relu0(f.norm0(f.conv0(centred)))]
        features = f.denseblock1(f.pool0(levels[0]))
        for transition, block in self._joints():
            levels.append(transition.relu(transition.norm(features)))
            features = block(transition.pool(transition.conv(levels[-1])))
        return [*levels, nn.functional.relu(f.norm5(features))]

    def stages(self) -> list[list[nn.Module]]:
        f = self.net.features
        stages: list[list[nn.Module]] = [[f.conv0, f.norm0], [f.denseblock1]]
        for transition, block in self._joints():
            stages[-1].append(transition.norm)
            stages.append([transition.conv, block])
        stages[-1].append(f.norm5)
        return stages

    def _joints(self) -> list[tuple[Any, Any]]:
        """What follows each dense block: a transition, and the next block."""
        f = self.net.features
        return [
            (f.transition1, f.denseblock2),
            (f.transition2, f.denseblock3),
            (f.transition3, f.denseblock4),
        ]
