"""Telling rotations: all four turns of a picture, and which is which."""

from __future__ import annotations

import math

import pytest
import torch

from covidssl.pretext import RotationPretext
from covidssl.pretext.rotation import turned
from covidssl.training import Share
from tests.pretext.pictures import SETTING, network_of, slices, volumes


def test_four_quarter_turns_are_none() -> None:
    unit = torch.arange(16.0).view(1, 1, 4, 4)
    for _ in range(4):
        unit = turned(unit, 1)
    assert torch.equal(unit, torch.arange(16.0).view(1, 1, 4, 4))
    assert not torch.equal(turned(unit, 1), turned(unit, 3))


def test_volumes_are_turned_within_their_slices() -> None:
    unit = torch.rand(2, 1, 3, 8, 8)
    assert torch.equal(turned(unit, 1)[:, :, 1], turned(unit[:, :, 1], 1))


class AlwaysRight(torch.nn.Module):
    """Knows the upright pictures, and so by how much any is turned."""

    def __init__(self, upright: torch.Tensor) -> None:
        super().__init__()
        self.upright = upright

    def forward(self, unit: torch.Tensor) -> torch.Tensor:
        pictures = len(self.upright)
        logits = torch.zeros(len(unit), 4)
        for row, picture in enumerate(unit):
            for k in range(4):
                if torch.equal(picture, turned(self.upright[row % pictures][None], k)[0]):
                    logits[row, k] = 50.0
        return logits


def test_who_tells_all_turns_pays_nothing() -> None:
    task = RotationPretext().task(SETTING)
    examples = task.examples(slices(), Share(0, 0, 4))
    losses = task.loss(AlwaysRight(examples.upright), examples)
    assert float(losses.total) == pytest.approx(0, abs=1e-6)
    assert float(losses.parts["accuracy"]) == 1


def test_who_knows_nothing_pays_the_logarithm_of_four() -> None:
    pretext = RotationPretext()
    network, task = network_of(pretext), pretext.task(SETTING)
    for parameter in network.head.parameters():  # type: ignore[union-attr]
        torch.nn.init.zeros_(parameter)
    losses = task.loss(network, task.examples(slices(), Share(0, 0, 4)))
    assert float(losses.total.detach()) == pytest.approx(math.log(4))


def test_four_turns_of_a_volume_are_shown() -> None:
    task = RotationPretext().task(SETTING)
    shown = task.shown(torch.nn.Identity(), task.examples(volumes(), Share(0, 0, 2)))
    assert list(shown) == ["0 degrees", "90 degrees", "180 degrees", "270 degrees"]
