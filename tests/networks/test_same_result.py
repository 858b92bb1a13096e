"""Faster paths give what the plain one gives: channels last, bf16, torch.compile.

Tolerances are shares of the norm. Layouts and compilers only add in another order: 1e-4 of the
features. bf16 keeps 8 bits, and rounds anew in every layer: 5e-2 of the features. A gradient is
compared by its direction, since a ReLU that flips moves it more than any feature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from lightning_fabric import Fabric

from covidssl.errors import UsageError
from covidssl.networks.encoder import Encoder, build_encoder
from covidssl.networks.plan import Dimensions, EncoderPlan, Kind
from covidssl.networks.unet import RestorationUNet
from covidssl.randomness import initial_weights, torch_generator
from tests.networks.kinds import BOTH, KINDS, encoder, encoder_of, far_apart, pictures

__all__ = ["encoder"]  # a fixture

FEATURES, BF16_FEATURES = 1e-4, 5e-2
DIRECTION, BF16_DIRECTION = 0.9999, 0.95
Levels = Callable[[torch.Tensor], list[torch.Tensor]]


def features_and_gradient(
    network: Encoder, levels_of: Levels, unit: torch.Tensor, fabric: Fabric
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Feature maps, and the gradient of their weighted sum by all parameters of `network`."""
    network.zero_grad()
    levels = [level.float() for level in levels_of(unit)]
    total = torch.zeros((), device=unit.device)
    for depth, level in enumerate(levels):
        weights = torch.randn(level.shape, generator=torch_generator(9, depth)).to(unit.device)
        total = total + (level * weights).mean()
    fabric.backward(total)
    gradients = [parameter.grad for parameter in network.parameters()]
    return levels, torch.cat([g.flatten() for g in gradients if g is not None]).double()


def must_be_close(
    network: Encoder, fast: Levels, plain: Levels, unit: torch.Tensor, fabric: Fabric | None = None
) -> None:
    """Features and gradients of two paths through `network`; with `fabric`, `fast` is bf16's."""
    features, direction = (BF16_FEATURES, BF16_DIRECTION) if fabric else (FEATURES, DIRECTION)
    expected, plain_gradient = features_and_gradient(network, plain, unit, fabric_of("32-true"))
    found, gradient = features_and_gradient(network, fast, unit, fabric or fabric_of("32-true"))
    assert all(far_apart(one, two) < features for one, two in zip(found, expected, strict=True))
    assert torch.cosine_similarity(gradient, plain_gradient, dim=0) > direction
    assert abs(gradient.norm() / plain_gradient.norm() - 1) < 0.1


def fabric_of(precision: Literal["32-true", "bf16-mixed"], device: str = "cpu") -> Fabric:
    return Fabric(accelerator=device, devices=1, precision=precision)


def small(encoder: Encoder) -> torch.Tensor:
    """Pictures that a CPU takes in no time."""
    return pictures(64, 64) if encoder.plan.dimensions == 2 else pictures(32, 32, 32, n=1)


def test_channels_last_gives_what_plain_memory_gives(encoder: Encoder) -> None:
    def plain(unit: torch.Tensor) -> list[torch.Tensor]:
        encoder.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return encoder.levels_of((encoder.padded(unit) * 2 - 1).contiguous())

    def channels_last(unit: torch.Tensor) -> list[torch.Tensor]:
        layout = torch.channels_last if unit.ndim == 4 else torch.channels_last_3d
        encoder.to(memory_format=layout)  # type: ignore[call-overload]
        return encoder(unit)

    must_be_close(encoder, channels_last, plain, small(encoder))


def test_encoders_are_built_with_their_channels_last() -> None:
    for kind, axes in [one for one in BOTH if one[0] in ("unet", "light", "densenet121")]:
        layout = torch.channels_last if axes == 2 else torch.channels_last_3d
        network = encoder_of(kind, axes)
        weights = [p for p in network.parameters() if p.ndim == axes + 2]
        assert all(weight.is_contiguous(memory_format=layout) for weight in weights)


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_mixed_gives_what_32_bits_give(kind: Kind) -> None:
    plain, mixed = encoder_of(kind), fabric_of("bf16-mixed")
    must_be_close(plain, mixed.setup_module(plain), plain, pictures(64, 64), mixed)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["unet", "light", "densenet121"])
def test_bf16_mixed_sees_volumes_as_32_bits_do(kind: Kind) -> None:
    plain = encoder_of(kind, 3)
    fast = fabric_of("bf16-mixed").setup_module(plain)
    unit = pictures(32, 32, 32)
    for found, expected in zip(fast(unit), plain(unit), strict=True):
        assert far_apart(found, expected) < BF16_FEATURES


def test_learning_from_volumes_in_bf16_on_a_cpu_is_refused() -> None:
    network = encoder_of("light", 3)
    fast = fabric_of("bf16-mixed").setup_module(network)
    with pytest.raises(UsageError, match=r"gradients of volumes are wrong .*precision=32-true"):
        fast(pictures(16, 16, 16))


@pytest.mark.parametrize("kind", ["unet", "light", "resnet18"])
def test_a_compiled_graph_gives_what_the_plain_path_gives(kind: Kind) -> None:
    # The graph is whole (one that breaks is an error) and its gradient is derived from it; code is
    # made of it on a GPU, below: for a CPU that takes minutes a network.
    plain = encoder_of(kind)
    fast = torch.compile(plain, backend="aot_eager", fullgraph=True)
    must_be_close(plain, fast, plain, pictures(64, 64))


@torch.no_grad()
def test_the_compiled_graph_of_a_deep_network_gives_the_plain_features() -> None:
    plain, unit = encoder_of("densenet121"), pictures(32, 32)
    fast = torch.compile(plain, backend="eager", fullgraph=True)
    for found, expected in zip(fast(unit), plain(unit), strict=True):
        assert far_apart(found, expected) < FEATURES


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, of its compiler
def test_compiled_code_gives_what_the_plain_path_gives() -> None:
    with initial_weights(0):
        plain = build_encoder(EncoderPlan(channels=(8, 8)))
    unit = pictures(16, 16)
    for found, expected in zip(
        torch.compile(plain, fullgraph=True)(unit), plain(unit), strict=True
    ):
        assert far_apart(found, expected) < FEATURES


def test_a_compiled_restoration_network_gives_what_the_plain_one_gives() -> None:
    network = RestorationUNet(encoder_of("light"))
    torch.nn.init.normal_(network.decoder.last.weight, generator=torch_generator(1))
    fast = torch.compile(network, backend="aot_eager", fullgraph=True)
    unit, keep = pictures(33, 40), torch.tensor([[True] * 4, [False] * 4])
    expected, found = network(unit, keep), fast(unit, keep)
    for one, two in zip(found, expected, strict=True):
        assert far_apart(one.detach(), two.detach()) < FEATURES


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("kind", "dimensions"), BOTH)
def test_every_path_gives_on_a_gpu_what_a_cpu_gives(kind: Kind, dimensions: Dimensions) -> None:
    network = encoder_of(kind, dimensions)
    unit = small(network)
    with torch.no_grad():
        expected = network(unit)
    network.cuda()
    mixed = fabric_of("bf16-mixed", "cuda")
    compiled = torch.compile(network, fullgraph=True)
    paths: list[tuple[Levels, float]] = [
        (network, 1e-2),  # TF32 where it is allowed
        (compiled, 1e-2),
        (mixed.setup_module(network), BF16_FEATURES),
        (mixed.setup_module(compiled), BF16_FEATURES),
    ]
    for path, limit in paths:
        with torch.no_grad():
            found = path(unit.cuda())
        for one, two in zip(found, expected, strict=True):
            assert far_apart(one.float().cpu(), two) < limit


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("kind", "dimensions"), BOTH)
def test_gradients_on_a_gpu_point_where_the_plain_ones_do(
    kind: Kind, dimensions: Dimensions
) -> None:
    network = encoder_of(kind, dimensions).cuda()
    mixed = fabric_of("bf16-mixed", "cuda")
    fast = mixed.setup_module(torch.compile(network, fullgraph=True))
    must_be_close(network, fast, network, small(network).cuda(), mixed)
