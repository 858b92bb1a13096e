"""What any pseudo-lesion may do to a picture, and what it may not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from covidssl.augment import to_hu
from covidssl.hounsfield import LUNG_WINDOW_HU
from covidssl.lesions import LesionRanges, preset, preset_names, render
from covidssl.perlin import Backend
from tests.lesions.chest import PLAIN, chest, chest_volumes, draw, grown, only

EVERYTHING = LesionRanges(
    clean_share=0.2, coverage=(0.5, 1.0), vessels_kept=(0.5, 1.0), dense_opacity=(0.5, 1.0),
    kinds={"ground_glass": 1, "consolidation": 1, "crazy_paving": 1, "reversed_halo": 1},
)  # fmt: skip


@pytest.mark.parametrize("name", preset_names())
def test_lesions_stay_in_the_lungs_grown_by_what_they_swallow(name: str) -> None:
    hu, lungs, pixel_mm = chest(16)
    ranges = preset(name)
    rendered = render(hu, lungs, draw(ranges, 16), pixel_mm)
    pixel = 320 / 96
    allowed = grown(lungs, max(ranges.swallow_mm[1], 1.99 * pixel), pixel)
    assert float(rendered.lesion_map[~allowed].abs().max()) == 0
    if ranges.kinds.consolidation + ranges.kinds.reversed_halo == 0:
        assert float(rendered.lesion_map[~lungs].abs().max()) == 0
    assert float(rendered.lesion_map.max()) <= 1
    assert float(rendered.lesion_map.min()) == 0
    assert (rendered.lesion_map > 0.5).any()


@pytest.mark.parametrize("name", preset_names())
def test_voxels_without_lesion_keep_their_hu(name: str) -> None:
    hu, lungs, pixel_mm = chest(16)
    rendered = render(hu, lungs, draw(preset(name), 16), pixel_mm)
    untouched = rendered.lesion_map == 0
    assert torch.equal(rendered.corrupted_hu[untouched], hu[untouched])


def test_ground_glass_alone_never_reaches_beyond_the_lungs() -> None:
    hu, lungs, pixel_mm = chest(16)
    ranges = only("ground_glass", LesionRanges(), swallow_mm=(5, 5), clean_share=0)
    rendered = render(hu, lungs, draw(ranges, 16), pixel_mm)
    assert torch.equal(rendered.corrupted_hu[~lungs], hu[~lungs])
    assert float(rendered.lesion_map[~lungs].max()) == 0


@pytest.mark.parametrize("name", ["ggo", "crazy_paving", "paper"])
def test_sets_without_dense_foci_never_lower_a_voxel(name: str) -> None:
    hu, lungs, pixel_mm = chest(24)
    rendered = render(hu, lungs, draw(preset(name), 24), pixel_mm)
    added = rendered.corrupted_hu - hu
    assert float(added.min()) >= 0
    assert float(added[rendered.lesion_map > 0.9].mean()) > 100


def haze_profile(haze_mm: float, haze_share: float) -> tuple[Tensor, Tensor]:
    """HU gained and lesion map from the middle of one focus of 40 mm outwards, 1 mm a voxel."""
    lungs = torch.ones(1, 1, 161, 161, dtype=torch.bool)
    ranges = only(
        "ground_glass", PLAIN, foci=(1, 1), radius_mm=(40, 40), edge_mm=(4, 4),
        opacity_hu=(200, 200), haze_mm=(haze_mm, haze_mm), haze_share=(haze_share, haze_share),
    )  # fmt: skip
    params = draw(ranges, 1)._replace(place=torch.tensor([[0.5]]))
    rendered = render(lungs * -850.0, lungs, params, torch.ones(1, 2))
    return rendered.corrupted_hu[0, 0, 80, 80:] + 850, rendered.lesion_map[0, 0, 80, 80:]


def test_haze_fades_out_beyond_the_outline_and_ends_where_it_should() -> None:
    gained, lesion = haze_profile(20.0, 0.4)
    assert gained.tolist() == sorted(gained.tolist(), reverse=True)
    assert float(gained[43]) == pytest.approx(0.4 * 200, abs=8)
    assert float(gained[50]) == pytest.approx(0.2 * 200, abs=2)
    assert float(gained[58]) > 0
    assert float(gained[60:].abs().max()) == 0
    assert float(lesion[60:].max()) == 0
    torch.testing.assert_close(lesion, gained / 200, atol=1e-4, rtol=0)
    assert int((lesion > 0.5).sum()) == pytest.approx(41, abs=1)


@pytest.mark.parametrize(("haze_mm", "haze_share"), [(0.0, 0.5), (20.0, 0.0)])
def test_haze_of_no_width_or_no_strength_changes_not_a_bit(
    haze_mm: float, haze_share: float
) -> None:
    """Also beside a picture that has some."""
    hu, lungs, pixel_mm = chest(8)
    params = draw(EVERYTHING, 8)
    none = params._replace(haze_mm=torch.zeros(8), haze_share=torch.zeros(8))
    off = params._replace(
        haze_mm=torch.tensor([20.0] + [haze_mm] * 7),
        haze_share=torch.tensor([0.5] + [haze_share] * 7),
    )
    one, other = (render(hu, lungs, drawn, pixel_mm) for drawn in (none, off))
    assert torch.equal(one.corrupted_hu[1:], other.corrupted_hu[1:])
    assert torch.equal(one.lesion_map[1:], other.lesion_map[1:])


def test_haze_stays_in_the_lungs_and_lowers_nothing() -> None:
    hu, lungs, pixel_mm = chest(16)
    ranges = only("ground_glass", LesionRanges(), clean_share=0)
    params = draw(ranges, 16)
    bare = render(hu, lungs, params._replace(haze_mm=torch.zeros(16)), pixel_mm)
    hazy = render(hu, lungs, params._replace(haze_mm=torch.full((16,), 40.0)), pixel_mm)
    assert torch.equal(hazy.corrupted_hu[~lungs], hu[~lungs])
    assert float(hazy.lesion_map[~lungs].max()) == 0
    assert float((hazy.corrupted_hu - bare.corrupted_hu).min()) > -0.01
    assert float((hazy.corrupted_hu - hu).min()) >= 0
    assert float((hazy.corrupted_hu - bare.corrupted_hu).max()) > 30


def test_clean_draws_leave_the_slice_as_it_is() -> None:
    hu, lungs, pixel_mm = chest(6)
    rendered = render(hu, lungs, draw(LesionRanges(clean_share=1.0), 6), pixel_mm)
    assert torch.equal(rendered.corrupted_hu, hu)
    assert float(rendered.lesion_map.abs().max()) == 0


def test_empty_lungs_stay_clean() -> None:
    hu, lungs, pixel_mm = chest(3)
    lungs[1] = False
    ranges = LesionRanges(clean_share=0, kinds={"consolidation": 1})
    rendered = render(hu, lungs, draw(ranges, 3), pixel_mm)
    assert torch.equal(rendered.corrupted_hu[1], hu[1])
    assert float(rendered.lesion_map[1].max()) == 0
    assert float(rendered.lesion_map[0].max()) > 0
    none = render(hu, torch.zeros_like(lungs), draw(ranges, 3), pixel_mm)
    assert torch.equal(none.corrupted_hu, hu)


def test_an_empty_batch_gives_an_empty_batch() -> None:
    hu, lungs, pixel_mm = chest(2)
    rendered = render(hu[:0], lungs[:0], draw(LesionRanges(), 0), pixel_mm[:0])
    assert rendered.corrupted_hu.shape == rendered.lesion_map.shape == (0, 1, 96, 96)


def test_inputs_are_not_changed() -> None:
    hu, lungs, pixel_mm = chest(8)
    params = draw(EVERYTHING, 8)
    before = [values.clone() for values in (hu, lungs, pixel_mm, *params)]
    render(hu, lungs, params, pixel_mm)
    for values, kept in zip((hu, lungs, pixel_mm, *params), before, strict=True):
        assert torch.equal(values, kept)


@pytest.mark.parametrize("rows", [[0], [3, 1], [7, 6, 5, 4, 3, 2, 1, 0, 9]])
@pytest.mark.parametrize("ranges", [LesionRanges(), EVERYTHING], ids=["covid", "everything"])
def test_a_slice_has_the_same_bits_in_any_batch(rows: list[int], ranges: LesionRanges) -> None:
    hu, lungs, pixel_mm = chest(10, size=101)
    # Other lungs, pixels and kinds about it: none of them may matter.
    lungs[1::2, :, :, :50] = False
    lungs[::3, :, 60:] = False
    pixel_mm = pixel_mm * torch.linspace(0.8, 1.3, 10)[:, None]
    params = draw(ranges, 10)
    together = render(hu, lungs, params, pixel_mm)
    apart = render(hu[rows], lungs[rows], params.take(rows), pixel_mm[rows])
    assert torch.equal(apart.corrupted_hu, together.corrupted_hu[rows])
    assert torch.equal(apart.lesion_map, together.lesion_map[rows])


def test_a_volume_has_the_same_bits_in_any_batch() -> None:
    hu, lungs, voxel_mm = chest_volumes(6, depth=9, size=37)
    lungs[1, :, :, :, :15] = False
    lungs[4, :, :4] = False
    params = draw(EVERYTHING, 6)
    together = render(hu, lungs, params, voxel_mm)
    for rows in ([0], [5, 4, 1], [2, 3]):
        apart = render(hu[rows], lungs[rows], params.take(rows), voxel_mm[rows])
        assert torch.equal(apart.corrupted_hu, together.corrupted_hu[rows])
        assert torch.equal(apart.lesion_map, together.lesion_map[rows])


@pytest.mark.parametrize("backend", ["auto", "product"])
def test_autocast_about_it_changes_not_a_bit(backend: Backend) -> None:
    hu, lungs, pixel_mm = chest(6)
    params = draw(EVERYTHING, 6)
    volumes, solid, voxel_mm = chest_volumes(2)
    for given in ((hu, lungs, params, pixel_mm), (volumes, solid, params.take([0, 1]), voxel_mm)):
        plain = render(*given, backend)
        with torch.autocast("cpu", torch.bfloat16):
            cast = render(*given, backend)
        assert torch.equal(plain.corrupted_hu, cast.corrupted_hu)
        assert torch.equal(plain.lesion_map, cast.lesion_map)


def test_lesion_size_follows_mm_not_pixels() -> None:
    ranges = only("ground_glass", foci=(1, 1), radius_mm=(20, 20), edge_mm=(4, 4))
    area_mm2 = []
    for size in (128, 256):
        lungs = torch.ones(8, 1, size, size, dtype=torch.bool)
        hu, pixel_mm = torch.full((8, 1, size, size), -850.0), torch.full((8, 2), 400 / size)
        params = draw(ranges, 8)._replace(place=torch.full((8, 1), 0.5 + 0.5 / size))
        rendered = render(hu, lungs, params, pixel_mm)
        area_mm2.append(float((rendered.lesion_map[0] > 0.5).sum()) * (400 / size) ** 2)
    assert area_mm2 == pytest.approx([3.1416 * 400] * 2, rel=0.1)


def test_elongated_foci_keep_their_area_and_lie_as_they_are_turned() -> None:
    lungs = torch.ones(2, 1, 160, 160, dtype=torch.bool)
    ranges = only("ground_glass", foci=(1, 1), radius_mm=(20, 20), elongation=(2.25, 2.25))
    params = draw(ranges, 2)._replace(
        place=torch.full((2, 1), 0.503), angle_deg=torch.tensor([[0.0], [90.0]])
    )
    maps = render(lungs * -850.0, lungs, params, torch.full((2, 2), 1.0)).lesion_map > 0.5
    for lesion, axis in zip(maps[:, 0], (0, 1), strict=True):
        length, width = lesion.any(axis).sum(), lesion.any(1 - axis).sum()
        assert float(length / width) == pytest.approx(2.25, rel=0.1)
        assert float(lesion.sum()) == pytest.approx(3.1416 * 400, rel=0.1)


def test_anisotropic_pixels_keep_lesions_round_in_mm() -> None:
    lungs = torch.ones(1, 1, 100, 200, dtype=torch.bool)
    ranges = only("ground_glass", foci=(1, 1), radius_mm=(30, 30))
    params = draw(ranges, 1)._replace(place=torch.tensor([[0.5025]]))
    rendered = render(lungs * -850.0, lungs, params, torch.tensor([[4.0, 2.0]]))
    rows, columns = torch.nonzero(rendered.lesion_map[0, 0] > 0.5, as_tuple=True)
    height = float(rows.max() - rows.min() + 1) * 4
    width = float(columns.max() - columns.min() + 1) * 2
    assert height == pytest.approx(width, abs=9)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_coverage_is_the_share_of_a_focus_that_is_drawn(share: float) -> None:
    lungs = torch.ones(48, 1, 64, 64, dtype=torch.bool)
    ranges = only(
        "ground_glass", radius_mm=(900, 900), foci=(1, 1), coverage=(share, share),
        feature_mm=(12, 12), octaves=(2, 3), edge_mm=(2, 2),
    )  # fmt: skip
    rendered = render(lungs * -850.0, lungs, draw(ranges, 48), torch.full((48, 2), 3.0))
    assert float((rendered.lesion_map > 0.5).float().mean()) == pytest.approx(share, abs=0.06)


def test_edges_are_as_soft_as_they_say() -> None:
    lungs = torch.ones(1, 1, 200, 200, dtype=torch.bool)
    for edge in (4.0, 20.0):
        ranges = only("ground_glass", foci=(1, 1), radius_mm=(40, 40), edge_mm=(edge, edge))
        params = draw(ranges, 1)._replace(place=torch.tensor([[0.5025]]))
        lesion = render(lungs * -850.0, lungs, params, torch.ones(1, 2)).lesion_map[0, 0]
        row = lesion[int(lesion.sum(1).argmax())]
        fading = int(((row > 0.001) & (row < 0.999)).sum()) / 2
        assert fading == pytest.approx(edge, abs=2)


def test_windowed_slices_and_hu_get_the_same_lesion_through_the_window() -> None:
    hu, lungs, pixel_mm = chest(8)
    low, high = LUNG_WINDOW_HU
    hu = hu.clamp(low, high)
    unit = (hu - low) / (high - low)
    params = draw(EVERYTHING, 8)
    in_hu = render(hu, lungs, params, pixel_mm)
    windowed = render(to_hu(unit, LUNG_WINDOW_HU), lungs, params, pixel_mm)
    assert torch.equal(windowed.lesion_map, in_hu.lesion_map)
    torch.testing.assert_close(windowed.corrupted_hu, in_hu.corrupted_hu, atol=0.01, rtol=0)


def test_lungs_as_numbers_are_the_same_as_lungs_as_bool() -> None:
    hu, lungs, pixel_mm = chest(4)
    params = draw(LesionRanges(), 4)
    one, other = (render(hu, mask, params, pixel_mm) for mask in (lungs, lungs.float()))
    assert torch.equal(one.corrupted_hu, other.corrupted_hu)


@pytest.mark.parametrize("changes", [{"mesh_mm": 1e-20}, {"feature_mm": 1e-20, "coverage": 0.5}])
def test_absurdly_fine_features_do_not_cost_absurd_memory(changes: dict[str, float]) -> None:
    hu, lungs, pixel_mm = chest(2, size=48)
    params = draw(only("crazy_paving"), 2)
    params = params._replace(**{name: torch.full((2,), value) for name, value in changes.items()})
    params = params._replace(swallow_mm=torch.full((2,), 1e9))
    assert torch.isfinite(render(hu, lungs, params, pixel_mm).corrupted_hu).all()


def test_the_backend_of_the_fields_changes_nothing_that_is_seen() -> None:
    hu, lungs, pixel_mm = chest(4)
    params = draw(EVERYTHING, 4)
    one, other = (render(hu, lungs, params, pixel_mm, b).corrupted_hu for b in ("auto", "product"))
    torch.testing.assert_close(one, other, atol=0.5, rtol=0)


def test_an_edge_of_no_width_is_sharp() -> None:
    hu, lungs, pixel_mm = chest(2)
    params = draw(only("ground_glass"), 2)._replace(edge_mm=torch.full((2,), 1e-45))
    lesion = render(hu, lungs, params, pixel_mm).lesion_map
    assert sorted(set(lesion.flatten().tolist())) == [0.0, 1.0]


@pytest.mark.realdata
def test_real_slices_get_lesions_of_the_share_that_disease_has(real_data: Path) -> None:
    files = sorted((real_data / "luna16-slices").glob("*.png"))[:60]
    grey = torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files]))
    hu = grey[:, None].float() / 255 * 1400 - 1000
    # Dark and away from the border: rough lungs are enough to count by.
    lungs = torch.zeros_like(hu, dtype=torch.bool)
    lungs[:, :, 50:170, 30:194] = hu[:, :, 50:170, 30:194] < -500
    pixel_mm = torch.full((60, 2), 350 / 224)
    rendered = render(hu, lungs, draw(LesionRanges(), 60), pixel_mm)
    share = (rendered.lesion_map * lungs).sum((1, 2, 3)) / lungs.sum((1, 2, 3)).clamp(min=1)
    drawn = share[share > 0]
    assert 0.03 < float(drawn.median()) < 0.35
    assert float(drawn.max()) < 0.95
