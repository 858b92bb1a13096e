"""The encoder: the part of the network that is taught by restoration and handed on to diagnosis."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from covidssl.errors import UsageError
from covidssl.networks.plan import EncoderPlan


class Encoder(nn.Module, ABC):
    """(B, 1, [Z,] Y, X) in [0, 1] -> one feature map a level, shallow first.

    Pictures of any size are padded at their far ends, by their own border, to a multiple of the
    deepest level's stride: the feature maps are those of the padded picture.

    Attributes:
        plan: architecture.
        channels: features of each level.
        strides: by what each level's map is smaller than the padded picture, along every axis.
    """

    plan: EncoderPlan
    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @abstractmethod
    def levels_of(self, centred: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps of a padded picture in [-1, 1]."""

    @abstractmethod
    def stages(self) -> list[list[nn.Module]]:
        """The modules of each level, shallow first: every parameter is in exactly one."""

    def forward(self, unit: torch.Tensor) -> list[torch.Tensor]:
        axes = self.plan.dimensions
        if unit.ndim != axes + 2 or unit.shape[1] != 1:
            wanted = "(B, 1, H, W)" if axes == 2 else "(B, 1, D, H, W)"
            raise ValueError(f"An encoder of {axes}D takes {wanted}, got {tuple(unit.shape)}.")
        _must_have_right_gradients(unit)
        self._must_have_statistics(unit)
        # Centred, so that air is -1 and soft tissue about +0.4.
        # Channels last: twice as fast on a CPU.
        centred = self.padded(unit) * 2.0 - 1.0
        return self.levels_of(centred.contiguous(memory_format=memory_format(axes)))

    def _must_have_statistics(self, unit: torch.Tensor) -> None:
        """Refuse to learn with BatchNorm from a deepest level of one value a feature.

        Raises:
            UsageError: that says what to take instead.
        """
        if self.plan.norm != "batch" or not self.training:
            return
        deepest = [-(-edge // self.strides[-1]) for edge in unit.shape[2:]]
        if unit.shape[0] * prod(deepest) > 1:
            return
        parts = [part for module in self.stages()[-1] for part in module.modules()]
        if any(isinstance(part, _BatchNorm) and part.training for part in parts):
            raise UsageError(
                f"encoder.norm batch: one frame of {tuple(unit.shape[2:])} leaves one value of "
                f"each feature at the deepest level (stride {self.strides[-1]}), which has no "
                f"variance. Raise training.batch_size (or lower training.accumulate), take a "
                f"larger frame.size, freeze the encoder (learns: head), or set encoder.norm=group."
            )

    def padded(self, unit: torch.Tensor) -> torch.Tensor:
        """The picture, its border repeated at the far ends up to multiples of the last stride."""
        stride = self.strides[-1]
        more = [-edge % stride for edge in unit.shape[2:]]
        if not any(more):
            return unit
        pads = [pad for edge in reversed(more) for pad in (0, edge)]
        return nn.functional.pad(unit, pads, mode="replicate")


class EncoderOfLevels(Encoder):
    """An encoder whose levels are modules, each of which takes what the one before it gave."""

    levels: nn.ModuleList

    def levels_of(self, centred: torch.Tensor) -> list[torch.Tensor]:
        found = []
        for level in self.levels:
            centred = level(centred)
            found.append(centred)
        return found

    def stages(self) -> list[list[nn.Module]]:
        return [[level] for level in self.levels]


def _must_have_right_gradients(unit: torch.Tensor) -> None:
    """Refuse to learn from volumes in bf16 on a CPU.

    On CPUs with AVX-512, torch 2.13 (oneDNN) gives wrong weight gradients of a bf16 convolution
    over a map that is two voxels deep, and writes over memory that is not its own.

    Raises:
        UsageError: that says what to take instead.
    """
    here = unit.ndim == 5 and unit.device.type == "cpu" and torch.is_grad_enabled()
    if here and torch.is_autocast_enabled("cpu"):
        raise UsageError(
            "bf16-mixed: on a CPU, PyTorch's gradients of volumes are wrong in bf16. "
            "Set training.precision=32-true, or train on a GPU."
        )


def memory_format(dimensions: int) -> torch.memory_format:
    """Channels last, for slices or volumes."""
    return torch.channels_last if dimensions == 2 else torch.channels_last_3d


def build_encoder(plan: EncoderPlan) -> Encoder:
    """The encoder of a plan, with first weights of PyTorch's global generator.

    See `covidssl.randomness.initial_weights`.
    """
    from covidssl.networks.contracting import ContractingPath
    from covidssl.networks.densenet import DenseNetwork
    from covidssl.networks.genesis import GenesisPath
    from covidssl.networks.light import LightNetwork
    from covidssl.networks.resnet import ResidualNetwork

    families: dict[
        str, type[ContractingPath | DenseNetwork | GenesisPath | LightNetwork | ResidualNetwork]
    ] = {
        "unet": ContractingPath,
        "resnet18": ResidualNetwork,
        "resnet50": ResidualNetwork,
        "densenet121": DenseNetwork,
        "light": LightNetwork,
        "genesis": GenesisPath,
    }
    return families[plan.kind](plan)
