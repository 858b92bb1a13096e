"""Encoder, restoration network and classifier: shapes, hand-over, and what each can learn."""

from __future__ import annotations

import pytest
import torch

from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import Encoder, build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.networks.unet import RestorationUNet
from covidssl.randomness import initial_weights, torch_generator

PLAN = EncoderPlan(channels=(8, 16, 24))


def frames(n: int = 3, edge: int = 32) -> torch.Tensor:
    return torch.rand((n, 1, edge, edge), generator=torch_generator(5))


def encoder() -> Encoder:
    with initial_weights(0):
        return build_encoder(PLAN)


def test_every_level_halves_the_picture() -> None:
    shapes = [tuple(level.shape) for level in encoder()(frames())]
    assert shapes == [(3, 8, 32, 32), (3, 16, 16, 16), (3, 24, 8, 8)]


def test_an_edge_that_does_not_divide_is_padded() -> None:
    levels = encoder()(frames(edge=30))
    assert [level.shape[-1] for level in levels] == [32, 16, 8]


def test_colour_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(B, 1, H, W\)"):
        encoder()(torch.rand(1, 3, 32, 32))


def test_the_restoration_network_starts_as_the_identity() -> None:
    unit = frames()
    restored = RestorationUNet(encoder())(unit)
    assert torch.equal(restored.unit, unit)
    assert restored.lesion_logit.shape == unit.shape


def test_closed_skips_change_the_restoration_of_that_picture_alone() -> None:
    network = RestorationUNet(encoder())
    with torch.no_grad():
        network.decoder.last.weight.normal_(generator=torch_generator(1))
    unit = frames(2)
    keep = torch.tensor([[True, True], [False, True]])
    opened, closed = network(unit), network(unit, keep)
    assert torch.allclose(opened.unit[0], closed.unit[0], atol=1e-6)
    assert not torch.allclose(opened.unit[1], closed.unit[1], atol=1e-3)


def test_a_picture_does_not_see_the_others_of_its_batch() -> None:
    network = CovidClassifier(encoder())
    torch.nn.init.normal_(network.head.weight, generator=torch_generator(2))
    unit = frames(4)
    together = network(unit)
    alone = torch.cat([network(unit[k : k + 1]) for k in range(4)])
    assert torch.allclose(together, alone, atol=1e-4)


def test_the_classifier_pools_every_level() -> None:
    network = CovidClassifier(encoder())
    assert network.pooled(frames()).shape == (3, 2 * (8 + 16 + 24))


def test_the_classifier_uses_the_encoder_that_it_is_given() -> None:
    given = encoder()
    assert CovidClassifier(given).encoder is given
    assert RestorationUNet(given).encoder is given


def test_a_feature_that_never_changes_is_not_divided_by_nothing() -> None:
    network = CovidClassifier(encoder())
    size = network.feature_mean.shape
    network.set_feature_scale(torch.zeros(size), torch.zeros(size))
    assert torch.isfinite(network(frames())).all()


def test_the_restoration_network_overfits_one_example() -> None:
    unit = frames(1)
    corrupted = unit.clone()
    corrupted[:, :, 8:24, 8:24] = (corrupted[:, :, 8:24, 8:24] + 0.4).clamp(0, 1)
    network = RestorationUNet(encoder())
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    first = last = float("nan")
    for step in range(150):
        loss = (network(corrupted).unit - unit).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        last = float(loss.detach())
        first = last if step == 0 else first
    assert last < 0.35 * first
