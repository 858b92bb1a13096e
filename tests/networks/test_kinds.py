"""What every kind of encoder promises, in 2D and in 3D: levels, stages, names, norms."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from covidssl.config import load_config
from covidssl.errors import UsageError
from covidssl.experiments import PretrainConfig
from covidssl.networks.encoder import Encoder, build_encoder
from covidssl.networks.plan import Dimensions, EncoderPlan, Kind
from covidssl.networks.unet import RestorationUNet
from covidssl.randomness import torch_generator
from tests.networks.kinds import (
    BOTH,
    KINDS,
    encoder,
    encoder_of,
    far_apart,
    pictures,
    some_edges,
)

__all__ = ["encoder"]  # a fixture


@torch.no_grad()
def test_levels_have_the_channels_and_strides_that_they_say(encoder: Encoder) -> None:
    edges = some_edges(encoder)
    levels = encoder(pictures(*edges))
    last = encoder.strides[-1]
    padded = [math.ceil(edge / last) * last for edge in edges]
    assert [tuple(level.shape) for level in levels] == [
        (2, channels, *(edge // stride for edge in padded))
        for channels, stride in zip(encoder.channels, encoder.strides, strict=True)
    ]


def test_the_plan_says_the_channels(encoder: Encoder) -> None:
    assert encoder.plan.channels == encoder.channels
    assert len(encoder.stages()) == len(encoder.strides) == len(encoder.channels)


def test_every_parameter_is_in_exactly_one_stage(encoder: Encoder) -> None:
    staged = [
        id(parameter)
        for modules in encoder.stages()
        for module in modules
        for parameter in module.parameters()
    ]
    assert len(staged) == len(set(staged))
    assert set(staged) == {id(parameter) for parameter in encoder.parameters()}


@torch.no_grad()
def test_a_stage_moves_its_own_level_and_none_before_it(encoder: Encoder) -> None:
    unit = pictures(*[32] * encoder.plan.dimensions, n=1)
    before = encoder(unit)
    for depth, modules in enumerate(encoder.stages()):
        parameter = next(modules[-1].parameters())
        kept = parameter.clone()
        parameter.add_(torch.randn(parameter.shape, generator=torch_generator(7)))
        moved = [not torch.equal(one, two) for one, two in zip(before, encoder(unit), strict=True)]
        parameter.copy_(kept)
        assert moved[: depth + 1] == [False] * depth + [True]


@torch.no_grad()
def test_a_picture_smaller_than_every_stride_is_taken(encoder: Encoder) -> None:
    axes = encoder.plan.dimensions
    for level, stride in zip(encoder(pictures(*[3] * axes)), encoder.strides, strict=True):
        assert level.shape[2:] == (encoder.strides[-1] // stride,) * axes
        assert torch.isfinite(level).all()


# Parameters that torchvision's networks have, less the last linear layer and two of the first
# layer's three channels.
@pytest.mark.parametrize(
    ("kind", "torchvision", "linear"),
    [
        ("resnet18", 11_689_512, 513_000),
        ("resnet50", 25_557_032, 2_049_000),
        ("densenet121", 7_978_856, 1_025_000),
    ],
)
def test_networks_are_as_large_as_torchvisions(kind: Kind, torchvision: int, linear: int) -> None:
    own = sum(parameter.numel() for parameter in encoder_of(kind).parameters())
    assert own == torchvision - linear - 2 * 64 * 7 * 7


def torchvision_names(convolutions: int, blocks: tuple[int, ...], first_shortcut: bool) -> set[str]:
    """Names in a torchvision ResNet's state dict, but for its last linear layer."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {"conv1.weight", *(f"bn1.{name}" for name in norm)}
    for layer, count in enumerate(blocks, start=1):
        for block in range(count):
            place = f"layer{layer}.{block}"
            for k in range(1, convolutions + 1):
                names |= {f"{place}.conv{k}.weight", *(f"{place}.bn{k}.{name}" for name in norm)}
            if block == 0 and (layer > 1 or first_shortcut):
                names |= {f"{place}.downsample.0.weight"}
                names |= {f"{place}.downsample.1.{name}" for name in norm}
    return names


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("resnet18", torchvision_names(2, (2, 2, 2, 2), first_shortcut=False)),
        ("resnet50", torchvision_names(3, (3, 4, 6, 3), first_shortcut=True)),
    ],
)
def test_resnets_have_torchvisions_names(kind: Kind, names: set[str]) -> None:
    assert set(encoder_of(kind, norm="batch").net.state_dict()) == names
    running = {name for name in names if "running" in name or "num_batches" in name}
    assert set(encoder_of(kind).net.state_dict()) == names - running


def test_a_bottleneck_strides_where_torchvisions_does() -> None:
    first = encoder_of("resnet50").net.layer2[0]
    assert [first.conv1.stride, first.conv2.stride] == [(1, 1), (2, 2)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_norm_is_the_plans_in_every_layer(kind: Kind) -> None:
    for norm, wanted, other in (
        ("group", nn.GroupNorm, _BatchNorm),
        ("batch", _BatchNorm, nn.GroupNorm),
    ):
        modules = list(encoder_of(kind, norm=norm).modules())
        assert any(isinstance(module, wanted) for module in modules)
        assert not any(isinstance(module, other) for module in modules)


@torch.no_grad()
@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_pictures_features_do_not_depend_on_its_batch(kind: Kind, norm: str) -> None:
    # GroupNorm: learning or in use. BatchNorm: in use alone.
    network, unit = encoder_of(kind, norm=norm).train(norm == "group"), pictures(40, 33, n=3)
    alone = network(unit[1:2])
    for together, expected in zip(network(unit), alone, strict=True):
        assert far_apart(together[1:2], expected) < 1e-4


@torch.no_grad()
def test_batch_norm_that_learns_does_depend_on_the_batch() -> None:
    network, unit = encoder_of("resnet18", norm="batch").train(), pictures(40, 33, n=3)
    assert far_apart(network(unit)[1][1:2], network(unit[1:2])[1]) > 1e-2


def blurred(unit: torch.Tensor) -> torch.Tensor:
    """The mean of every pixel and its neighbours."""
    pool = nn.functional.avg_pool2d if unit.ndim == 4 else nn.functional.avg_pool3d
    return pool(unit, 3, 1, 1)


@pytest.mark.parametrize(
    ("kind", "dimensions"), [one for one in BOTH if one[1] == 2 or one[0] in ("unet", "light")]
)
def test_an_encoder_overfits_one_batch(kind: Kind, dimensions: Dimensions) -> None:
    network, unit = encoder_of(kind, dimensions), pictures(*[32] * dimensions, n=4)
    target = torch.tensor([0, 1, 1, 0])
    unit[1:3] = blurred(unit[1:3])  # the same noise, less grainy
    head = nn.Linear(network.channels[-1], 2)
    nn.init.zeros_(head.weight)
    learning = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(learning, 1e-2 if kind in ("unet", "light") else 3e-4)
    losses = []
    for _ in range(40):
        features = network(unit)[-1].flatten(2).mean(2)  # the deepest level has to learn
        loss = nn.functional.cross_entropy(head(features), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if losses[-1] < 0.1 * losses[0]:
            return
    pytest.fail(f"it did not learn four pictures: {losses}")


def test_the_light_network_is_light() -> None:
    def size(kind: Kind) -> int:
        return sum(p.numel() for p in build_encoder(EncoderPlan(kind=kind)).parameters())

    assert size("light") < size("unet") < size("resnet18")


# Plans


def test_channels_of_a_kind_that_has_its_own_are_filled_in() -> None:
    plan = EncoderPlan(kind="resnet18")
    assert plan.channels == (64, 64, 128, 256, 512)
    assert EncoderPlan.model_validate_json(plan.model_dump_json()) == plan


def test_other_channels_are_refused_where_the_kind_has_its_own() -> None:
    with pytest.raises(
        UsageError, match=r"encoder: channels of resnet18 are \[64, 64, .*leave 'channels' out"
    ):
        load_config(PretrainConfig, None, ["encoder.kind=resnet18", "encoder.channels=[8, 16]"])


@pytest.mark.parametrize(("kind", "groups"), [("resnet50", 24), ("light", 16), ("densenet121", 64)])
def test_groups_that_do_not_divide_a_width_are_refused(kind: Kind, groups: int) -> None:
    with pytest.raises(ValueError, match=f"cannot be cut into {groups} groups"):
        EncoderPlan(kind=kind, groups=groups)


@pytest.mark.parametrize("kind", KINDS)
def test_any_groups_that_a_plan_takes_build_a_network(kind: Kind) -> None:
    groups = 8 if kind in ("unet", "light") else 32
    network = RestorationUNet(build_encoder(EncoderPlan(kind=kind, groups=groups)))
    norms = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    assert all(norm.num_groups == min(groups, norm.num_channels) for norm in norms)


def test_an_unknown_kind_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("encoder: {kind: resnet34}\n")
    with pytest.raises(UsageError, match=r"encoder\.kind: .*'resnet18'.*resnet34"):
        load_config(PretrainConfig, tmp_path / "run.yaml")
