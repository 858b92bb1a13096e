"""ResNets and DenseNet-121 as torchvision builds and names them, written after their papers.

They stand for networks that were built elsewhere: no code of MONAI or covidssl is in them.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, max_pool2d, relu

WIDTHS, STRIDES = (64, 128, 256, 512), (1, 2, 2, 2)


def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


class Block(nn.Module):
    """Two or three convolutions beside a shortcut; the stride is in that of 3 x 3."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = 4 * width if bottleneck else width
        sizes = (1, 3, 1) if bottleneck else (3, 3)
        widths = (inputs, width, width, outputs) if bottleneck else (inputs, width, width)
        self.count = len(sizes)
        for k, size in enumerate(sizes):
            step = stride if k == (1 if bottleneck else 0) else 1
            setattr(self, f"conv{k + 1}", conv(widths[k], widths[k + 1], size, step))
            setattr(self, f"bn{k + 1}", nn.BatchNorm2d(widths[k + 1]))
        if stride > 1 or inputs != outputs:
            shortcut = conv(inputs, outputs, 1, stride)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        for k in range(1, self.count + 1):
            x = getattr(self, f"bn{k}")(getattr(self, f"conv{k}")(x))
            x = relu(x) if k < self.count else relu(x + shortcut)
        return x


class ResNet(nn.Module):
    def __init__(self, blocks: tuple[int, ...], bottleneck: bool, channels: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(channels, 64, 7, 2), nn.BatchNorm2d(64)
        inputs = 64
        for k, (width, count, stride) in enumerate(zip(WIDTHS, blocks, STRIDES, strict=True), 1):
            layer = []
            for number in range(count):
                layer.append(Block(inputs, width, 1 if number else stride, bottleneck))
                inputs = 4 * width if bottleneck else width
            setattr(self, f"layer{k}", nn.Sequential(*layer))
        self.fc: nn.Module = nn.Linear(inputs, 10)

    def levels(self, x: torch.Tensor) -> list[torch.Tensor]:
        levels = [relu(self.bn1(self.conv1(x)))]
        x = max_pool2d(levels[0], 3, 2, 1)
        for k in range(1, 5):
            x = getattr(self, f"layer{k}")(x)
            levels.append(x)
        return levels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.fc(self.levels(x)[-1].mean((2, 3)))
        return found


class DenseLayer(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, 128, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(128), conv(128, 32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = relu(self.norm2(self.conv1(relu(self.norm1(x)))))
        return torch.cat((x, self.conv2(inner)), dim=1)


class DenseNet121(nn.Module):
    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        f = self.features = nn.Module()
        f.conv0, f.norm0, width = conv(channels, 64, 7, 2), nn.BatchNorm2d(64), 64
        for k, layers in enumerate((6, 12, 24, 16), 1):
            block = nn.Sequential()
            for layer in range(layers):
                block.add_module(f"denselayer{layer + 1}", DenseLayer(width))
                width += 32
            f.add_module(f"denseblock{k}", block)
            if k < 4:
                transition = nn.Module()
                transition.norm = nn.BatchNorm2d(width)
                transition.conv = conv(width, width // 2, 1)
                f.add_module(f"transition{k}", transition)
                width //= 2
        f.norm5 = nn.BatchNorm2d(width)
        self.classifier: nn.Module = nn.Linear(width, 10)

    def levels(self, x: torch.Tensor) -> list[torch.Tensor]:
        f = dict(self.features.named_children())
        levels = [relu(f["norm0"](f["conv0"](x)))]
        x = f["denseblock1"](max_pool2d(levels[0], 3, 2, 1))
        for k in range(1, 4):
            parts = dict(f[f"transition{k}"].named_children())
            levels.append(relu(parts["norm"](x)))
            x = f[f"denseblock{k + 1}"](avg_pool2d(parts["conv"](levels[-1]), 2))
        return [*levels, relu(f["norm5"](x))]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.classifier(self.levels(x)[-1].mean((2, 3)))
        return found


def resnet18(channels: int = 3) -> ResNet:
    return ResNet((2, 2, 2, 2), bottleneck=False, channels=channels)


def resnet34() -> ResNet:
    return ResNet((3, 4, 6, 3), bottleneck=False)


def resnet50(channels: int = 3) -> ResNet:
    return ResNet((3, 4, 6, 3), bottleneck=True, channels=channels)


def densenet121(channels: int = 3) -> DenseNet121:
    return DenseNet121(channels)
