"""State dicts as MedicalNet and Models Genesis name them, made by code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from covidssl.randomness import torch_generator

Tensors = dict[str, torch.Tensor]


def resnet(kind: str, channels: int = 3, dimensions: int = 2, shortcut: str = "B") -> Any:
    """A network with a last layer, whose names are torchvision's, or MedicalNet's."""
    from monai.networks.nets.resnet import ResNet, get_inplanes

    block, layers = {
        "resnet18": ("basic", [2, 2, 2, 2]),
    }[kind]
    return taught(
        ResNet(
            block,
            layers,
            get_inplanes(),
            spatial_dims=dimensions,
            n_input_channels=channels,
            conv1_t_stride=2,
            shortcut_type=shortcut,
            bias_downsample=False,
            num_classes=10,
        )
    )


def with_old_names(densenet: Mapping[str, torch.Tensor]) -> Tensors:
    """Names of a DenseNet in torchvision's files from before 2018 (`norm.1`)."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): tensor
        for name, tensor in densenet.items()
        if not name.endswith("num_batches_tracked")
    }


def genesis() -> Tensors:
    """A U-Net of Models Genesis: its names, its shapes."""
    generator = torch_generator(3)
    found: Tensors = {}

    def layer(name: str, inputs: int, outputs: int) -> None:
        found[f"{name}.conv1.weight"] = _normal((outputs, inputs, 3, 3, 3), generator) / 10
        found[f"{name}.conv1.bias"] = _normal((outputs,), generator) / 10
        found.update({f"{name}.bn1.{part}": t for part, t in _norm(outputs, generator).items()})

    for level, (name, inputs) in enumerate(
        {"down_tr64": 1, "down_tr128": 64, "down_tr256": 128, "down_tr512": 256}.items()
    ):
        layer(f"{name}.ops.0", inputs, 32 * 2**level)
        layer(f"{name}.ops.1", 32 * 2**level, 64 * 2**level)
    found["up_tr64.up_conv.weight"] = _normal((128, 128, 2, 2, 2), generator)
    found["out_tr.final_conv.weight"] = _normal((1, 64, 1, 1, 1), generator)
    return found


def taught(network: nn.Module) -> nn.Module:
    """A network whose norms have seen something, in use."""
    generator = torch_generator(4)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.load_state_dict(_norm(module.num_features, generator))
    return network.eval()


def _norm(features: int, generator: torch.Generator) -> Tensors:
    return {
        "weight": 0.5 + torch.rand(features, generator=generator),
        "bias": _normal((features,), generator) / 10,
        "running_mean": _normal((features,), generator) / 10,
        "running_var": 0.5 + torch.rand(features, generator=generator),
        "num_batches_tracked": torch.tensor(7),
    }


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator)
