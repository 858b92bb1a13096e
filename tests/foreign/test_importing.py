"""Foreign weights see in an encoder of covidssl what they saw at home, or they are refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from covidssl.errors import WeightsError
from covidssl.foreign import LAYOUTS, Imported, LayoutName, Stated, import_encoder
from covidssl.foreign.first_layer import IMAGENET, fold
from covidssl.networks.plan import Kind
from covidssl.randomness import torch_generator
from tests.foreign import layout_files, torchvision_networks

MEAN = torch.tensor(IMAGENET.mean).view(1, 3, 1, 1)
STD = torch.tensor(IMAGENET.std).view(1, 3, 1, 1)


@cache
def network(kind: str) -> Any:
    """One that was built elsewhere, with norms that have seen something."""
    return layout_files.taught(getattr(torchvision_networks, kind)())


def state_dict(kind: str) -> dict[str, torch.Tensor]:
    return dict(network(kind).state_dict())


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


def levels_at_home(kind: str, picture: torch.Tensor, border: float | None) -> list[torch.Tensor]:
    """What an RGB network sees of a grey picture; its first layer pads with a grey, or with 0."""
    home = network(kind)
    part = home.features if kind == "densenet121" else home
    first = part.conv0 if kind == "densenet121" else part.conv1
    if border is None:
        return list(home.levels((picture - MEAN) / STD))
    padded = (torch.nn.functional.pad(picture, (3, 3, 3, 3), value=border) - MEAN) / STD
    first.padding = (0, 0)
    try:
        return list(home.levels(padded))
    finally:
        first.padding = (3, 3)


@pytest.mark.parametrize("kind", ["resnet18", "resnet50", "densenet121"])
@torch.no_grad()
def test_all_levels_equal_those_of_the_rgb_network_with_a_grey_border(kind: str) -> None:
    picture = grey(96, 96)
    found = taken(state_dict(kind)).encoder(picture)
    assert len(found) == 5
    for ours, theirs in zip(found, levels_at_home(kind, picture, border=0.5), strict=True):
        apart = (ours - theirs).norm() / theirs.norm()
        assert apart < 1e-5
        assert theirs.std() > 1e-3


@torch.no_grad()
def test_first_level_differs_from_the_rgb_network_at_the_border_alone() -> None:
    picture = grey(64, 64)
    found = taken(state_dict("resnet18")).encoder(picture)[0]
    expected = levels_at_home("resnet18", picture, border=None)[0]
    torch.testing.assert_close(inside(found, 2), inside(expected, 2), atol=2e-5, rtol=1e-4)
    assert not torch.allclose(found, expected, atol=1e-3)


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
    names = layout_files.with_old_names(state_dict("densenet121"))
    old, new = taken(names), taken(state_dict("densenet121"))
    assert "features.denseblock1.denselayer1.norm.1.weight" in names
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
    volume = grey(16, 24, 32)
    # The cubes of its authors are (x, y, z); ours are (z, y, x).
    expected = volume.permute(0, 1, 4, 3, 2)
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
    found = inside(done.encoder(volume)[0], 2)
    expected = inside(expected.permute(0, 1, 4, 3, 2), 2)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


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


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("bn1.running_var", lambda t: -t, "holds a variance below 0"),
        ("conv1.weight", lambda t: (100 * t).to(torch.int8), "holds whole numbers .*quantised"),
        ("conv1.weight", lambda t: t.double() * 1e300, "numbers that are not finite"),
    ],
    ids=["variance", "whole", "large"],
)
def test_numbers_that_no_training_gives_are_refused(
    name: str, change: Callable[[torch.Tensor], torch.Tensor], said: str
) -> None:
    tensors = state_dict("resnet18")
    tensors[name] = change(tensors[name])
    with pytest.raises(WeightsError, match=rf"'net\.{name}' .*{said}"):
        taken(tensors)


def test_two_names_of_one_tensor_are_refused() -> None:
    tensors = state_dict("densenet121")
    tensors |= layout_files.with_old_names(tensors)
    with pytest.raises(WeightsError, match=r"norm1\.\w+' and '.*norm\.1\.\w+' are two names"):
        taken(tensors)


# One channel, and GroupNorm


def test_one_channel_is_refused_where_nobody_says_how_it_saw_grey() -> None:
    tensors = dict(torchvision_networks.resnet18(channels=1).state_dict())
    with pytest.raises(WeightsError, match=r"Three channels \(RGB\) are expected, or one with"):
        taken(tensors)


@torch.no_grad()
def test_one_channel_is_taken_as_it_is_said_to_have_seen_grey() -> None:
    home = layout_files.taught(torchvision_networks.resnet18(channels=1))
    stated = Stated.model_validate({"pretrained_cfg": {"mean": [0.3], "std": [0.2]}})
    layout = LAYOUTS["timm"]
    encoder = import_encoder(home.state_dict(), layout, None, 0, "w.pth", stated).encoder
    picture = grey(64, 64)
    expected = home.levels((picture - 0.3) / 0.2)[0]  # type: ignore[operator]
    found = encoder(picture)[0]
    torch.testing.assert_close(inside(found, 2), inside(expected, 2), atol=2e-5, rtol=1e-4)


def without_statistics(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {n: t for n, t in tensors.items() if "running_" not in n and "num_batches" not in n}


def test_group_norms_are_refused_where_nobody_says_their_groups() -> None:
    with pytest.raises(WeightsError, match=r"no running statistics, so they are no BatchNorm"):
        taken(without_statistics(state_dict("resnet18")))


def test_rgb_network_with_group_norms_is_refused_since_it_cannot_be_folded() -> None:
    stated = Stated.model_validate({"covidssl": {"groups": 8}})
    tensors = without_statistics(state_dict("resnet18"))
    with pytest.raises(WeightsError, match=r"is followed by GroupNorm, into which its mean"):
        import_encoder(tensors, LAYOUTS["timm"], None, 0, "w.pth", stated)
