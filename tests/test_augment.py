"""Augmentation of slices and volumes: one draw, applied to all slices of a volume alike."""

from __future__ import annotations

import pytest
import torch

from covidssl.augment import (
    AugmentParams,
    AugmentRanges,
    sample_augment,
    see_through,
    warp,
    without_shortcuts,
)
from covidssl.randomness import torch_generator

STILL = AugmentRanges(flip=0, rotation_degrees=0, zoom=(1, 1), shift=0)


def draw(ranges: AugmentRanges, n: int = 3) -> AugmentParams:
    return sample_augment(ranges, torch_generator(1), n)


def volumes(n: int = 3, depth: int = 8) -> torch.Tensor:
    return torch.rand((n, 1, depth, 20, 24), generator=torch_generator(2))


def test_a_volume_is_moved_as_each_of_its_slices_would_be() -> None:
    params, whole = draw(AugmentRanges()), volumes()
    moved = warp(whole, params)
    for place in range(whole.shape[2]):
        assert torch.equal(moved[:, :, place], warp(whole[:, :, place], params))


def test_a_volume_moved_along_the_body_is_the_affine_map_in_three_dimensions() -> None:
    params = draw(AugmentRanges(zoom_z=(0.8, 1.25), shift_z=0.1))
    assert len({float(one) for one in params.along.flatten()}) == 6
    theta = torch.zeros(3, 3, 4)
    theta[:, :2, :2], theta[:, :2, 3] = params.theta[:, :, :2], params.theta[:, :, 2]
    theta[:, 2, 2], theta[:, 2, 3] = params.along.unbind(1)
    grid = torch.nn.functional.affine_grid(theta, [3, 1, 8, 20, 24], align_corners=False)
    wanted = torch.nn.functional.grid_sample(
        volumes(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    torch.testing.assert_close(warp(volumes(), params), wanted, atol=1e-5, rtol=0)


def test_a_volume_that_is_not_moved_stays_as_it_is() -> None:
    torch.testing.assert_close(warp(volumes(), draw(STILL)), volumes(), atol=1e-5, rtol=0)


def test_a_mirror_changes_sides_and_never_head_and_feet() -> None:
    moved = warp(volumes(), draw(STILL.model_copy(update={"flip": 1.0})))
    torch.testing.assert_close(moved, volumes().flip(4), atol=1e-5, rtol=0)


def test_ranges_along_the_body_leave_all_other_ranges_within_their_bounds() -> None:
    plain = draw(AugmentRanges(), 200)
    along = draw(AugmentRanges(zoom_z=(0.9, 1.1), shift_z=0.05), 200)
    assert torch.equal(plain.along, torch.tensor([[1.0, 0.0]]).expand(200, 2))
    scale, shift = along.along.unbind(1)
    assert 1 / 1.1 <= float(scale.min()) < float(scale.max()) <= 1 / 0.9
    assert float(shift.abs().max()) <= 0.1
    for params in (plain, along):
        assert float(params.theta[:, :, 2].abs().max()) <= 0.1


@pytest.mark.parametrize(
    "ranges", [AugmentRanges(), AugmentRanges(shift_z=0.1), AugmentRanges(ranked=0.5, blanked=0.5)]
)
def test_a_draw_does_not_depend_on_how_many_follow_it(ranges: AugmentRanges) -> None:
    for few, many in zip(draw(ranges, 2), draw(ranges, 9), strict=True):
        assert torch.equal(few, many[:2])


def test_each_volume_is_seen_through_its_own_window() -> None:
    params = draw(AugmentRanges(window_low_hu=(-1200, -900), window_high_hu=(100, 500)))
    hu = volumes() * 1800 - 1200
    seen = see_through(hu, params)
    for one, whole, (low, high) in zip(hu, seen, params.window_hu, strict=True):
        torch.testing.assert_close(whole, ((one - low) / (high - low)).clamp(0, 1))


def test_ranking_and_blanking_are_drawn_as_often_as_asked_for() -> None:
    params = draw(AugmentRanges(ranked=0.3, blanked=0.6), 4000)
    assert float(params.ranked.float().mean()) == pytest.approx(0.3, abs=0.03)
    assert float(params.blanked.float().mean()) == pytest.approx(0.6, abs=0.03)
    both = (params.ranked & params.blanked).float().mean()
    assert float(both) == pytest.approx(0.18, abs=0.03)


def test_asking_for_neither_leaves_every_other_draw_as_it_was() -> None:
    plain, hiding = draw(AugmentRanges(), 5), draw(AugmentRanges(ranked=1), 5)
    assert not plain.ranked.any()
    assert not plain.blanked.any()
    assert torch.equal(plain.along, hiding.along)


def test_a_picture_that_is_ranked_no_longer_knows_its_window() -> None:
    picture = torch.rand((1, 1, 32, 32), generator=torch_generator(4))
    lungs = torch.ones_like(picture)
    params = draw(AugmentRanges(ranked=1), 1)
    (seen,), (again,) = (
        without_shortcuts(one, lungs, params) for one in (picture, 0.2 + 0.5 * picture)
    )
    assert (seen - again).abs().max() < 0.01


def test_two_pictures_follow_the_ranks_of_the_first() -> None:
    sick = torch.rand((1, 1, 32, 32), generator=torch_generator(4))
    clean = sick.clone()
    clean[..., :8, :] *= 0.5
    seen, beside = without_shortcuts(
        sick, torch.ones_like(sick), draw(AugmentRanges(ranked=1), 1), clean
    )
    assert torch.equal(seen[..., 8:, :], beside[..., 8:, :])
    assert (beside[..., :8, :] < seen[..., :8, :]).float().mean() > 0.95


def test_what_is_outside_the_lungs_is_black_where_it_is_blanked() -> None:
    picture = 0.5 + torch.rand((2, 1, 16, 16), generator=torch_generator(4)) / 2
    lungs = torch.zeros_like(picture)
    lungs[..., 4:12, 4:12] = 1
    params = draw(AugmentRanges(blanked=1), 2)._replace(blanked=torch.tensor([True, False]))
    (seen,) = without_shortcuts(picture, lungs, params)
    assert torch.equal(seen[0], picture[0] * lungs[0])
    assert torch.equal(seen[1], picture[1])
