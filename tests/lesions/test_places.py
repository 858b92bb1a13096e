"""Foci lie where the preferences say."""

from __future__ import annotations

import pytest
import torch

from covidssl.lesions import render
from covidssl.lesions.places import _rim as rim
from covidssl.lesions.places import centres
from covidssl.randomness import torch_generator
from tests.lesions.chest import PLAIN, chest, chest_volumes, draw, only

SMALL = PLAIN.model_copy(update={"radius_mm": (8.0, 10.0), "foci": (4, 4)})


def test_centres_lie_in_the_lungs() -> None:
    _, lungs, pixel_mm = chest(32)
    found = centres(lungs[:, 0], draw(SMALL, 32), pixel_mm).long()
    row = torch.arange(32)[:, None]
    assert lungs[row, 0, found[..., 0], found[..., 1]].all()
    _, solid, voxel_mm = chest_volumes(32)
    found = centres(solid[:, 0], draw(SMALL, 32), voxel_mm).long()
    assert solid[row, 0, found[..., 0], found[..., 1], found[..., 2]].all()


def test_without_preference_every_lung_voxel_is_as_likely() -> None:
    lungs = torch.zeros(1, 10, 12, dtype=torch.bool)
    lungs[0, 2:8, 1:4] = lungs[0, 5:7, 8:11] = True
    n = int(lungs.sum())
    params = draw(SMALL.model_copy(update={"foci": (n, n)}), 1)
    params = params._replace(place=((torch.arange(n) + 0.5) / n)[None])
    found = centres(lungs, params, torch.ones(1, 2)).long()[0]
    # Evenly spread quantiles meet every voxel once, column by column.
    assert found.tolist() == [
        list(p) for p in sorted(lungs[0].nonzero().tolist(), key=lambda p: (p[1], p[0]))
    ]


def test_alternating_foci_lie_on_both_sides() -> None:
    hu, lungs, pixel_mm = chest(32)
    two = only("ground_glass", SMALL, foci=(2, 2), bilateral=1.0)
    lesion = render(hu, lungs, draw(two, 32), pixel_mm).lesion_map
    assert (lesion[..., :48].sum((1, 2, 3)) > 0).all()
    assert (lesion[..., 48:].sum((1, 2, 3)) > 0).all()
    free = only("ground_glass", SMALL, foci=(2, 2), bilateral=0.0)
    lesion = render(hu, lungs, draw(free, 32), pixel_mm).lesion_map
    one_sided = (lesion[..., :48].sum((1, 2, 3)) == 0) | (lesion[..., 48:].sum((1, 2, 3)) == 0)
    assert 6 <= int(one_sided.sum()) <= 26


def test_periphery_draws_lesions_to_the_outer_rim() -> None:
    hu, lungs, pixel_mm = chest(64)
    x = torch.linspace(-1, 1, 96).abs()

    def lateral(periphery: float) -> float:
        ranges = only("ground_glass", SMALL, periphery=(periphery, periphery))
        lesion = render(hu, lungs, draw(ranges, 64), pixel_mm).lesion_map
        return float((lesion * x).sum() / lesion.sum())

    assert lateral(1.0) > lateral(0.0) + 0.05


def test_dorsal_draws_lesions_to_the_back() -> None:
    hu, lungs, pixel_mm = chest(64)
    y = torch.linspace(-1, 1, 96)[:, None]

    def height(dorsal: float) -> float:
        ranges = only("ground_glass", SMALL, dorsal=(dorsal, dorsal))
        lesion = render(hu, lungs, draw(ranges, 64), pixel_mm).lesion_map
        return float((lesion * y).sum() / lesion.sum())

    assert height(0.0) == pytest.approx(0, abs=0.06)
    assert height(1.0) > 0.2
    assert 0.03 < height(0.5) < height(1.0)


def test_lower_draws_lesions_to_the_first_slices() -> None:
    hu, solid, voxel_mm = chest_volumes(32)
    z = torch.linspace(-1, 1, 24)[:, None, None]

    def level(lower: float) -> float:
        ranges = only("ground_glass", SMALL, lower=(lower, lower))
        lesion = render(hu, solid, draw(ranges, 32), voxel_mm).lesion_map
        return float((lesion * z).sum() / lesion.sum())

    assert level(0.0) == pytest.approx(0, abs=0.08)
    assert level(1.0) < -0.2


def test_lower_says_nothing_about_slices() -> None:
    _, lungs, pixel_mm = chest(8)
    params = draw(SMALL, 8)
    other = params._replace(lower=torch.ones(8))
    assert torch.equal(
        centres(lungs[:, 0], params, pixel_mm), centres(lungs[:, 0], other, pixel_mm)
    )


def test_centres_are_the_same_under_autocast() -> None:
    params = draw(SMALL.model_copy(update={"periphery": (0.9, 1.0)}), 16)
    for _, lungs, voxel_mm in (chest(16), chest_volumes(16)):
        plain = centres(lungs[:, 0], params, voxel_mm)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(centres(lungs[:, 0], params, voxel_mm), plain)


def test_the_rim_is_nearness_to_what_is_not_chest() -> None:
    """As counted by hand: in each window of 25 mm, the share that lies outside."""
    generator = torch_generator(4)
    inside = torch.rand((2, 9, 13), generator=generator) < 0.7
    mm = torch.tensor([[7.0, 11.0], [4.0, 30.0]])
    seen = inside.cumsum(-1)
    filled = (seen > 0) & (inside.flip(-1).cumsum(-1).flip(-1) > 0)
    found = rim(inside, mm)
    for n in range(2):
        reach_y, reach_x = (int(25 // size) for size in mm[n].tolist())
        for y in range(9):
            for x in range(13):
                window = filled[n, max(0, y - reach_y) : y + reach_y + 1]
                window = window[:, max(0, x - reach_x) : x + reach_x + 1].float()
                expected = min(1.0, 2 * (1 - float(window.mean())))
                assert float(found[n, y, x]) == pytest.approx(expected, abs=1e-6)


def test_lungs_of_one_voxel_can_be_hit() -> None:
    lungs = torch.zeros(3, 50, 50, dtype=torch.bool)
    lungs[torch.arange(3), torch.tensor([0, 31, 49]), torch.tensor([49, 7, 0])] = True
    params = draw(SMALL.model_copy(update={"periphery": (1.0, 1.0), "dorsal": (1.0, 1.0)}), 3)
    found = centres(lungs, params, torch.ones(3, 2))
    assert found[:, 0].tolist() == [[0, 49], [31, 7], [49, 0]]
