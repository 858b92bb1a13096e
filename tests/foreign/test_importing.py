"""Foreign weights see in an encoder of covidssl what they saw at home, or they are refused."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from covidssl.errors import WeightsError
from covidssl.foreign import LAYOUTS, Imported, LayoutName, import_encoder
from covidssl.foreign.first_layer import IMAGENET, fold
from covidssl.networks.plan import Kind
from covidssl.randomness import torch_generator
from tests.foreign import layout_files

MEAN = torch.tensor(IMAGENET.mean).view(1, 3, 1, 1)
STD = torch.tensor(IMAGENET.std).view(1, 3, 1, 1)


@cache
def network(kind: str) -> Any:
    return layout_files.densenet() if kind == "densenet121" else layout_files.resnet(kind)


def state_dict(kind: str, old: bool = False) -> dict[str, torch.Tensor]:
    found = dict(network(kind).state_dict())
    return layout_files.as_torchvision_names(found, old) if kind == "densenet121" else found


def taken(
    tensors: dict[str, torch.Tensor],
    layout: LayoutName = "torchvision",
    kind: Kind | None = None,
    seed: int = 0,
) -> Imported:
    return import_encoder(tensors, LAYOUTS[layout], kind, seed, "weights.pth")


def grey(*shape: int) -> torch.Tensor:
    return torch.rand((1, 1, *shape), generator=torch_generator(9))


def inside(level: torch.Tensor, margin: int) -> torch.Tensor:
    for axis in range(2, level.ndim):
        level = level.narrow(axis, margin, level.shape[axis] - 2 * margin)
    return level


# What the first layer sees


@pytest.mark.parametrize("kind", ["resnet18", "resnet50", "densenet121"])
@torch.no_grad()
def test_first_level_equals_that_of_the_rgb_network_away_from_the_border(kind: str) -> None:
    picture = grey(64, 64)
    home = network(kind)
    part = home.features if kind == "densenet121" else home
    first, norm = (part.conv0, part.norm0) if kind == "densenet121" else (part.conv1, part.bn1)
    expected = torch.relu(norm(first((picture - MEAN) / STD)))
    found = taken(state_dict(kind)).encoder(picture)[0]
    torch.testing.assert_close(inside(found, 2), inside(expected, 2), atol=2e-5, rtol=1e-4)
    assert not torch.allclose(found, expected, atol=1e-3)  # the border is padded otherwise


@torch.no_grad()
def test_deepest_level_equals_that_of_the_rgb_network_away_from_the_border() -> None:
    picture = torch.zeros((1, 1, 448, 448))
    picture[..., 64:-64, 64:-64] = grey(320, 320)
    home = network("resnet18")
    layers = (home.conv1, home.bn1, home.act, home.maxpool, home.layer1)
    expected = (picture - MEAN) / STD
    for layer in layers:
        expected = layer(expected)
    found = taken(state_dict("resnet18")).encoder(picture)[1]
    torch.testing.assert_close(inside(found, 12), inside(expected, 12), atol=1e-4, rtol=1e-4)


def test_folded_filters_and_their_constant_give_the_same_sum() -> None:
    weight = torch.randn((5, 3, 3, 3), generator=torch_generator(2))
    picture = grey(9, 9)
    filters, constant = fold(weight, IMAGENET)
    found = torch.conv2d(2 * picture - 1, filters) + constant.view(1, -1, 1, 1)
    torch.testing.assert_close(
        found, torch.conv2d((picture - MEAN) / STD, weight), atol=1e-4, rtol=0
    )


# What matches


@pytest.mark.parametrize(
    ("layout", "kind"),
    [("torchvision", "resnet50"), ("torchvision", "densenet121"), ("timm", "resnet18")],
)
def test_every_tensor_of_an_imagenet_network_is_taken(layout: LayoutName, kind: Kind) -> None:
    tensors = state_dict(kind)
    done = taken(tensors, layout)
    plan = done.encoder.plan
    assert (plan.kind, plan.dimensions, plan.norm) == (kind, 2, "batch")
    assert (done.drawn, done.written, len(done.left)) == ((), (), 2)
    counters = sum(name.endswith("num_batches_tracked") for name in tensors)
    assert len(done.matched) == len(tensors) - counters - 2
    assert not done.encoder.training


def test_old_names_of_densenets_are_understood() -> None:
    old, new = taken(state_dict("densenet121", old=True)), taken(state_dict("densenet121"))
    assert "features.denseblock1.denselayer1.norm.1.weight" in state_dict("densenet121", old=True)
    assert old.matched == new.matched
    picture = grey(32, 32)
    for first, second in zip(old.encoder(picture), new.encoder(picture), strict=True):
        assert torch.equal(first, second)


def test_half_precision_weights_are_taken_in_single_precision() -> None:
    tensors = state_dict("resnet18")
    tensors["layer4.0.conv1.weight"] = tensors["layer4.0.conv1.weight"].half()
    done = taken(tensors, kind="resnet18")
    assert {p.dtype for p in done.encoder.parameters()} == {torch.float32}


# MedicalNet and Models Genesis


@torch.no_grad()
def test_medicalnet_resnet18_is_whole_with_shortcuts_that_have_no_weights() -> None:
    home = layout_files.resnet("resnet18", channels=1, dimensions=3, shortcut="A")
    tensors = {n: t for n, t in home.state_dict().items() if not n.startswith("fc.")}
    done = taken(tensors, "medicalnet")
    assert (done.encoder.plan.kind, done.encoder.plan.dimensions) == ("resnet18", 3)
    assert done.drawn == ()
    assert {name.split(".")[1] for name in done.written} == {"layer2", "layer3", "layer4"}
    volume = grey(32, 32, 32)
    expected = home.maxpool(home.act(home.bn1(home.conv1(2 * volume - 1))))
    for layer, found in zip(
        (home.layer1, home.layer2, home.layer3, home.layer4), done.encoder(volume)[1:], strict=True
    ):
        expected = layer(expected)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_medicalnet_weights_that_are_missing_are_drawn_from_the_seed_and_named() -> None:
    home = layout_files.resnet("resnet18", channels=1, dimensions=3)
    tensors = {n: t for n, t in home.state_dict().items() if not n.startswith("layer4.1.conv")}
    tensors["conv_seg.0.weight"] = torch.zeros(3)
    first, again, other = (taken(tensors, "medicalnet", "resnet18", seed) for seed in (1, 1, 2))
    name = "net.layer4.1.conv1.weight"
    assert first.drawn == (name, "net.layer4.1.conv2.weight")
    assert first.left == ("conv_seg.0.weight", "fc.bias", "fc.weight")
    weights = [done.encoder.state_dict()[name] for done in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@torch.no_grad()
def test_models_genesis_sees_what_it_saw_in_its_own_units() -> None:
    tensors = layout_files.genesis()
    done = taken(tensors, "models_genesis")
    assert (done.encoder.plan.kind, done.encoder.plan.dimensions, done.drawn) == ("genesis", 3, ())
    assert done.left == ("out_tr.final_conv.weight", "up_tr64.up_conv.weight")
    volume = grey(16, 16, 16)
    name, expected = "down_tr64.ops.0", volume
    for name in ("down_tr64.ops.0", "down_tr64.ops.1"):
        expected = torch.conv3d(
            expected, tensors[f"{name}.conv1.weight"], tensors[f"{name}.conv1.bias"], padding=1
        )
        norm = [
            tensors[f"{name}.bn1.{p}"] for p in ("running_mean", "running_var", "weight", "bias")
        ]
        expected = torch.relu(
            torch.batch_norm(expected, norm[2], norm[3], norm[0], norm[1], False, 0.1, 1e-5, False)
        )
    found = done.encoder(volume)[0]
    torch.testing.assert_close(inside(found, 2), inside(expected, 2), atol=1e-4, rtol=1e-4)


# What is refused


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ("resnet50", "resnet18", r"of another shape"),
        ("resnet18", "resnet50", r"missing"),
        ("resnet34", None, r"that it has no place for \(first: net\.layer1\.2\.bn1\.bias\)"),
        ("resnet18", "densenet121", r"0 of \d+ match"),
    ],
)
def test_another_architecture_is_refused(given: str, kind: Kind | None, said: str) -> None:
    with pytest.raises(WeightsError, match=f"weights.pth: .*{said}.*Nothing was written"):
        taken(state_dict(given), kind=kind)


@pytest.mark.parametrize("layout", ["medicalnet", "models_genesis"])
def test_another_layout_is_refused(layout: LayoutName) -> None:
    with pytest.raises(WeightsError, match=r"are not those of a 3D .* in this layout"):
        taken(state_dict("resnet18"), layout)


def test_weights_of_which_fewer_than_half_match_are_refused() -> None:
    tensors = {n: t for n, t in layout_files.genesis().items() if n.startswith("down_tr64")}
    with pytest.raises(WeightsError, match=r"12 of 48 match \(1% of the numbers\); 36 missing"):
        taken(tensors, "models_genesis")


def test_kind_that_a_layout_does_not_have_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"of this layout are genesis; not 'resnet18'"):
        taken(layout_files.genesis(), "models_genesis", "resnet18")


def test_weights_that_are_not_finite_are_refused() -> None:
    tensors = state_dict("resnet18")
    tensors["layer3.0.conv1.weight"] = tensors["layer3.0.conv1.weight"] * float("nan")
    with pytest.raises(
        WeightsError, match=r"'net\.layer3\.0\.conv1\.weight' holds numbers that are"
    ):
        taken(tensors)
