"""The norm of every layer: of one picture (GroupNorm), or of a batch (BatchNorm)."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from covidssl.networks.plan import EncoderPlan


def norm_of(plan: EncoderPlan, channels: int) -> str | tuple[str, dict[str, Any]]:
    """The norm of a layer of `channels` features, as MONAI's blocks take it."""
    if plan.norm == "batch":
        return "batch"
    return "group", {"num_groups": min(plan.groups, channels)}


def with_norms_of(plan: EncoderPlan, network: nn.Module) -> None:
    """Put the plan's norms into a network that was built with BatchNorm, in place; names stay.

    MONAI's ResNet takes a norm, but gives it to the first layer alone.
    """
    if plan.norm == "batch":
        return
    for name, module in list(network.named_modules()):
        if isinstance(module, _BatchNorm):
            groups = min(plan.groups, module.num_features)
            network.set_submodule(name, nn.GroupNorm(groups, module.num_features))
