"""Curves of intensity: ranks do not know the window, and are those that an audit counts."""

from __future__ import annotations

import pytest
import torch

from covidssl.audit.views import equalised
from covidssl.intensity import STEPS, bend, follow, rank_curve


def _pictures(n: int = 3, edge: int = 48) -> torch.Tensor:
    return torch.rand((n, 1, edge, edge), generator=torch.Generator().manual_seed(5)) ** 2


def test_ranks_are_those_of_the_audit() -> None:
    pictures = _pictures()
    ranks = follow(pictures, rank_curve(pictures))
    for picture, found in zip(pictures[:, 0], ranks[:, 0], strict=True):
        wanted = torch.from_numpy(equalised(picture.numpy()))
        assert torch.allclose(found, wanted, atol=1e-5)


def test_ranks_stay_the_same_through_another_window() -> None:
    pictures = _pictures()
    narrower = 0.1 + 0.6 * pictures
    ranks, again = (follow(one, rank_curve(one)) for one in (pictures, narrower))
    assert (ranks - again).abs().max() < 0.02
    assert not torch.allclose(pictures, narrower, atol=0.05)


def test_pixels_of_one_intensity_share_their_middle_rank() -> None:
    picture = torch.zeros((1, 1, 4, 4))
    picture[..., 2:, :] = 1.0
    assert follow(picture, rank_curve(picture)).unique().tolist() == [0.25, 0.75]


def test_each_picture_follows_its_own_curve() -> None:
    both = torch.stack([torch.full((1, 8, 8), 0.5), torch.linspace(0, 1, 64).view(1, 8, 8)])
    assert torch.equal(follow(both, rank_curve(both))[0], torch.full((1, 8, 8), 0.5))
    assert torch.equal(follow(both, rank_curve(both))[1], follow(both[1:], rank_curve(both[1:]))[0])


def test_volumes_are_ranked_as_a_whole() -> None:
    volume = torch.stack([torch.full((4, 4), 0.2), torch.full((4, 4), 0.8)])[None, None]
    found = follow(volume, rank_curve(volume))
    assert torch.allclose(found[0, 0, 0], torch.full((4, 4), 0.25))
    assert torch.allclose(found[0, 0, 1], torch.full((4, 4), 0.75))


def test_a_straight_curve_changes_nothing_and_a_bent_one_is_straight_between_its_points() -> None:
    picture = _pictures(2)
    even = torch.linspace(0, 1, STEPS + 1).repeat(2, 1)
    assert torch.allclose(bend(picture, even), picture, atol=1e-6)
    between = torch.full((1, 1), 0.5 / STEPS)
    assert float(bend(between, even[:1] ** 0.5)) == pytest.approx(0.5 * STEPS**-0.5)
