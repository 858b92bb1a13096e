"""Augmentation of slices and volumes: one draw, applied to all slices of a volume alike."""

from __future__ import annotations

import pytest
import torch

from covidssl.augment import AugmentParams, AugmentRanges, sample_augment, see_through, warp
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


@pytest.mark.parametrize("ranges", [AugmentRanges(), AugmentRanges(shift_z=0.1)])
def test_a_draw_does_not_depend_on_how_many_follow_it(ranges: AugmentRanges) -> None:
    for few, many in zip(draw(ranges, 2), draw(ranges, 9), strict=True):
        assert torch.equal(few, many[:2])


def test_each_volume_is_seen_through_its_own_window() -> None:
    params = draw(AugmentRanges(window_low_hu=(-1200, -900), window_high_hu=(100, 500)))
    hu = volumes() * 1800 - 1200
    seen = see_through(hu, params)
    for one, whole, (low, high) in zip(hu, seen, params.window_hu, strict=True):
        torch.testing.assert_close(whole, ((one - low) / (high - low)).clamp(0, 1))
