"""The restoration network on every encoder: any size, any lesion map, weights that come back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from covidssl.frames import Frame
from covidssl.networks.encoder import Encoder, build_encoder
from covidssl.networks.plan import EncoderPlan, Kind, LesionMap
from covidssl.networks.unet import RestorationUNet
from covidssl.randomness import torch_generator
from covidssl.weights import EncoderCard, Origin, load_encoder, load_restoration, save_encoder_file
from tests.networks.kinds import KINDS, encoder, encoder_of, far_apart, pictures

__all__ = ["encoder"]  # a fixture

MAPS: tuple[LesionMap, ...] = ("decoder", "bottleneck", "none")
SIZES = {
    2: [(1, 1), (5, 3), (31, 32), (37, 41), (63, 33)],
    3: [(1, 2, 3), (31, 32, 7)],
}


def restoration(encoder: Encoder, lesion_map: LesionMap = "decoder") -> RestorationUNet:
    """One whose last layers say something."""
    network = RestorationUNet(encoder, lesion_map)
    heads = [network.decoder.last, getattr(network, "lesion_head", None)]
    for head in (head for head in heads if head is not None):
        nn.init.normal_(head.weight, generator=torch_generator(1))
    return network.eval()


@torch.no_grad()
def test_a_picture_of_any_size_comes_back_in_its_size(encoder: Encoder) -> None:
    network = restoration(encoder)
    for edges in SIZES[encoder.plan.dimensions]:
        unit = pictures(*edges)
        restored = network(unit)
        assert restored.lesion_logit is not None
        assert restored.unit.shape == restored.lesion_logit.shape == unit.shape
        assert torch.isfinite(restored.unit).all()
        assert not torch.equal(restored.unit, unit)


@torch.no_grad()
@pytest.mark.parametrize("lesion_map", MAPS)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_what_repeating_the_border_by_hand_is(kind: Kind, lesion_map: LesionMap) -> None:
    network, unit = restoration(encoder_of(kind), lesion_map), pictures(37, 41)
    stride = network.encoder.strides[-1]
    wide = nn.functional.pad(unit, (0, -41 % stride, 0, -37 % stride), mode="replicate")
    for found, expected in zip(network(unit), network(wide), strict=True):
        if lesion_map == "none" and found is None:
            assert expected is None
            continue
        assert torch.equal(found, expected[..., :37, :41])


@torch.no_grad()
def test_it_starts_as_the_identity(encoder: Encoder) -> None:
    unit = pictures(*[19] * encoder.plan.dimensions)
    for lesion_map in MAPS:
        restored = RestorationUNet(encoder, lesion_map)(unit)
        assert torch.equal(restored.unit, unit)
        if lesion_map == "none":
            assert restored.lesion_logit is None
        else:
            assert torch.equal(restored.lesion_logit, torch.zeros_like(unit))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_skip_changes_the_restoration_of_its_picture_alone(kind: Kind) -> None:
    network, unit = restoration(encoder_of(kind)), pictures(32, 32)
    opened = network(unit).unit
    levels = len(network.encoder.channels) - 1
    assert far_apart(network(unit, torch.ones(2, levels).bool()).unit, opened) < 1e-6
    for level in range(levels):
        keep = torch.ones(2, levels).bool()
        keep[1, level] = False
        closed = network(unit, keep).unit
        assert far_apart(closed[:1], opened[:1]) < 1e-6
        assert far_apart(closed[1:], opened[1:]) > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_bottleneck_map_hears_of_the_deepest_level_alone(dimensions: int) -> None:
    plan = EncoderPlan.model_validate({"kind": "light", "dimensions": dimensions})
    network = restoration(build_encoder(plan), "bottleneck")
    unit = pictures(*[33] * dimensions)
    before = network(unit)
    for parameter in network.decoder.parameters():
        parameter.add_(1.0)
    after = network(unit)
    assert before.lesion_logit is not None
    assert torch.equal(after.lesion_logit, before.lesion_logit)
    assert before.lesion_logit.std() > 0
    assert not torch.equal(after.unit, before.unit)


@pytest.mark.parametrize("lesion_map", MAPS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind: Kind, lesion_map: LesionMap) -> None:
    """Distributed training waits for parameters that nothing comes back to."""
    network, unit = restoration(encoder_of(kind), lesion_map), pictures(32, 32)
    restored = network(unit)
    loss = restored.unit.sum()
    if restored.lesion_logit is not None:
        loss = loss + restored.lesion_logit.sum()
    loss.backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


# Weights


def card_of(network: RestorationUNet) -> EncoderCard:
    return EncoderCard(
        holds="restoration",
        encoder=network.encoder.plan,
        lesion_map=network.lesion_map,
        frame=Frame(size=32, depth=None if network.encoder.plan.dimensions == 2 else 16),
        trained_on=Origin(data_fingerprint="ab12", pictures=9, steps=5, seed=3),
        metrics={},
        sha256="",
    )


def saved(network: RestorationUNet, folder: Path) -> Path:
    """The folder of a run that taught `network`."""
    card, part = card_of(network), network.encoder
    save_encoder_file(folder / "restoration.safetensors", network, network.state_dict(), card)
    card = card.model_copy(update={"holds": "encoder"})
    save_encoder_file(folder / "encoder.safetensors", part, part.state_dict(), card)
    return folder


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "norm"),
    [
        ("unet", "group"),
        ("light", "group"),
        ("resnet18", "group"),
        ("resnet50", "batch"),
        ("densenet121", "batch"),
    ],
)
def test_weights_come_back_as_they_were_saved(kind: Kind, norm: str, tmp_path: Path) -> None:
    network, unit = restoration(encoder_of(kind, norm=norm)), pictures(33, 40)
    network.train()(unit)  # BatchNorm: statistics to be kept
    network.eval()
    again, _ = load_restoration(saved(network, tmp_path) / "restoration.safetensors")
    handed_on, card = load_encoder(tmp_path)
    assert torch.equal(again(unit).unit, network(unit).unit)
    for found, expected in zip(handed_on(unit), network.encoder(unit), strict=True):
        assert torch.equal(found, expected)
    assert card.encoder == network.encoder.plan


@torch.no_grad()
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("lesion_map", MAPS)
def test_the_lesion_map_comes_back(dimensions: int, lesion_map: LesionMap, tmp_path: Path) -> None:
    plan = EncoderPlan.model_validate({"kind": "light", "dimensions": dimensions})
    network, unit = restoration(build_encoder(plan), lesion_map), pictures(*[16] * dimensions)
    again, card = load_restoration(saved(network, tmp_path) / "restoration.safetensors")
    assert card.lesion_map == again.lesion_map == lesion_map
    found, expected = again(unit), network(unit)
    assert torch.equal(found.unit, expected.unit)
    if expected.lesion_logit is None:
        assert found.lesion_logit is None
    else:
        assert torch.equal(found.lesion_logit, expected.lesion_logit)


def old_names(channels: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Names and shapes in `restoration.safetensors` of covidssl 0.1, two convolutions a level."""

    def double(place: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
        return {
            f"{place}.{k}.{name}": shape
            for k, before in enumerate((inputs, outputs))
            for name, shape in {
                "conv.weight": (outputs, before, 3, 3),
                "conv.bias": (outputs,),
                "adn.N.weight": (outputs,),
                "adn.N.bias": (outputs,),
            }.items()
        }

    names: dict[str, tuple[int, ...]] = {}
    for level, (before, outputs) in enumerate(zip((1, *channels), channels, strict=False)):
        names |= double(f"encoder.levels.{level}", before, outputs)
    up = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
    for step, (deep, shallow) in enumerate(up):
        names[f"decoder.ups.{step}.preconv.weight"] = (shallow, deep, 1, 1)
        names[f"decoder.ups.{step}.preconv.bias"] = (shallow,)
        names |= double(f"decoder.blocks.{step}", 2 * shallow, shallow)
    return names | {"decoder.last.weight": (2, channels[0], 1, 1), "decoder.last.bias": (2,)}


def test_files_of_the_first_version_are_still_read(tmp_path: Path) -> None:
    plan = EncoderPlan(channels=(8, 16, 24))
    generator = torch_generator(3)
    old = {name: torch.randn(s, generator=generator) for name, s in old_names((8, 16, 24)).items()}
    network = RestorationUNet(build_encoder(plan))
    save_encoder_file(tmp_path / "restoration.safetensors", network, old, card_of(network))
    card = json.loads((tmp_path / "restoration.json").read_text())
    del card["lesion_map"]  # there was none
    card["encoder"] = {"channels": [8, 16, 24], "groups": 8}
    (tmp_path / "restoration.json").write_text(json.dumps(card))
    again, said = load_restoration(tmp_path / "restoration.safetensors")
    assert said.encoder == plan
    assert all(torch.equal(tensor, old[name]) for name, tensor in again.state_dict().items())
