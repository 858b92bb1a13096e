"""Lesions of volumes: one body in mm, whatever the slices."""

from __future__ import annotations

import pytest
import torch

from covidssl.lesions import LesionRanges, render
from tests.lesions.chest import PLAIN, chest_volumes, draw, only

BALL = only("ground_glass", PLAIN, foci=(1, 1), radius_mm=(24, 24), edge_mm=(4, 4))


def extents_mm(lesion: torch.Tensor, voxel_mm: torch.Tensor) -> list[float]:
    """Length in mm along z, y and x of a (Z, Y, X) bool lesion."""
    others = ((1, 2), (0, 2), (0, 1))
    return [
        float(lesion.any(b).any(a).sum()) * float(voxel_mm[axis])
        for axis, (a, b) in enumerate(others)
    ]


def middle(size: list[int]) -> float:
    """The quantile of the middle voxel of a full block: columns first, then slices, then rows."""
    depth, height, width = size
    within = (depth // 2 * height + height // 2 + 0.5) / (depth * height)
    return (width // 2 + within) / width


@pytest.mark.parametrize("voxel_mm", [(2.0, 2.0, 2.0), (5.0, 1.5, 1.5), (1.0, 4.0, 2.0)])
def test_one_focus_is_a_ball_in_mm(voxel_mm: tuple[float, float, float]) -> None:
    size = [int(96 / mm) for mm in voxel_mm]
    lungs = torch.ones(1, 1, *size, dtype=torch.bool)
    mm = torch.tensor([voxel_mm])
    params = draw(BALL, 1)._replace(place=torch.tensor([[middle(size)]]))
    lesion = render(lungs * -850.0, lungs, params, mm).lesion_map[0, 0]
    for extent, step in zip(extents_mm(lesion > 0.5, mm[0]), voxel_mm, strict=True):
        assert extent == pytest.approx(48, abs=2 * step)
    volume = float(lesion.sum()) * float(mm.prod())
    assert volume == pytest.approx(4 / 3 * 3.1416 * 24**3, rel=0.08)


def test_depth_stretches_a_focus_along_the_body() -> None:
    lungs = torch.ones(1, 1, 60, 60, 60, dtype=torch.bool)
    mm = torch.full((1, 3), 2.0)
    place, depth = torch.tensor([[middle([60, 60, 60])]]), torch.tensor([[0.5]])
    params = draw(BALL, 1)._replace(place=place, depth=depth)
    z, y, x = extents_mm(render(lungs * -850.0, lungs, params, mm).lesion_map[0, 0] > 0.5, mm[0])
    assert z == pytest.approx(24, abs=4)
    assert y == pytest.approx(48, abs=4)
    assert x == pytest.approx(48, abs=4)


def test_lesions_change_smoothly_from_slice_to_slice() -> None:
    hu, solid, _ = chest_volumes(8, depth=48)
    thin = torch.tensor([[1.0, 320 / 48, 320 / 48]]).repeat(8, 1)
    ranges = LesionRanges(clean_share=0, radius_mm=(15, 30), feature_mm=(20, 40), lower=(0, 0))
    lesion = render(hu, solid, draw(ranges, 8), thin).lesion_map[:, 0, 8:40]
    area = lesion.sum((2, 3))
    held = area.amax(1) > 20
    assert held.sum() >= 4
    step = area.diff(dim=1).abs().amax(1) / area.amax(1)
    assert float(step[held].max()) < 0.35
    # Neighbouring slices, 1 mm apart, show the same lesion; ones far apart another part of it.
    near = (lesion[:, 1:] - lesion[:, :-1]).abs().sum((1, 2, 3)) / lesion[:, 1:].sum((1, 2, 3))
    far = (lesion[:, 16:] - lesion[:, :-16]).abs().sum((1, 2, 3)) / lesion[:, 16:].sum((1, 2, 3))
    assert float(near[held].mean()) < 0.3 * float(far[held].mean())


def test_the_mesh_of_crazy_paving_goes_on_from_slice_to_slice() -> None:
    lungs = torch.ones(1, 1, 24, 48, 48, dtype=torch.bool)
    ranges = only("crazy_paving", radius_mm=(900, 900), opacity_hu=(250, 250), mesh_mm=(16, 16),
                  mesh_hu=(300, 300), mesh_width_mm=(2, 2))  # fmt: skip
    mm = torch.ones(1, 3)
    mesh = render(lungs * -850.0, lungs, draw(ranges, 1), mm).corrupted_hu[0, 0] + 600

    def alike(step: int) -> float:
        one, other = mesh[step:].flatten(), mesh[:-step].flatten()
        return float(torch.corrcoef(torch.stack([one, other]))[0, 1])

    assert alike(1) > 0.6
    assert abs(alike(16)) < 0.25


def test_dense_lesions_of_volumes_swallow_no_further_than_they_may() -> None:
    hu, solid, voxel_mm = chest_volumes(4)
    ranges = only("consolidation", PLAIN, radius_mm=(40, 60), swallow_mm=(14, 14), halo_mm=(0, 0),
                  dense_hu=(80, 80), dense_contrast_hu=(0, 0), foci=(4, 4))  # fmt: skip
    rendered = render(hu, solid, draw(ranges, 4), voxel_mm)
    # 14 mm are one slice of 13.3 mm, or two pixels of 6.7 mm.
    reach = torch.nn.functional.max_pool3d(solid.float(), (3, 5, 5), 1, (1, 2, 2)) > 0.5
    outside = rendered.lesion_map > 0
    assert not (outside & ~reach).any()
    assert (outside & ~solid).any()
    assert float((rendered.corrupted_hu - hu)[~solid].min()) >= 0


def test_one_slice_as_a_volume_holds_lesions_of_the_same_size() -> None:
    """The two code paths are one: a flat volume differs by its noise alone."""
    hu, solid, voxel_mm = chest_volumes(16, depth=3)
    params = draw(only("ground_glass", radius_mm=(20, 30)), 16)
    flat = render(hu[:, :, 1], solid[:, :, 1], params, voxel_mm[:, 1:]).lesion_map
    thick = render(hu[:, :, 1:2], solid[:, :, 1:2], params, voxel_mm).lesion_map
    torch.testing.assert_close(thick[:, :, 0], flat, atol=1e-5, rtol=0)
