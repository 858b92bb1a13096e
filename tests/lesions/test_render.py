"""What a pseudo-lesion may do to a slice, and what it may not."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from covidssl.lesions import LesionParams, LesionRanges, Rendered, render, sample
from covidssl.randomness import torch_generator

GROUND_GLASS = LesionRanges(clean_share=0, dense_share=0)
DENSE = LesionRanges(clean_share=0, dense_share=1, radius_mm=(30, 45), foci=(4, 6))


def chest(batch: int, size: int = 96) -> tuple[Tensor, Tensor, Tensor]:
    """Slices with two elliptic lungs, vessels in them, a little noise; (hu, lungs, pixel_mm)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    lungs = ((x.abs() - 0.45) / 0.35) ** 2 + (y / 0.7) ** 2 < 1
    hu = torch.where(x**2 + y**2 < 0.95, 40.0, -1000.0)
    hu = torch.where(lungs, -860.0, hu).repeat(batch, 1, 1, 1)
    hu[:, :, ::12] += torch.where(lungs[::12], 800.0, 0.0)
    hu = hu + 15 * torch.randn(hu.shape, generator=torch_generator(99))
    return hu, lungs.repeat(batch, 1, 1, 1), torch.full((batch, 2), 320 / size)


def draw(ranges: LesionRanges, batch: int, seed: int = 0) -> LesionParams:
    return sample(ranges, torch_generator(seed), batch)


def test_lesion_stays_inside_the_lungs() -> None:
    hu, lungs, pixel_mm = chest(16)
    rendered = render(hu, lungs, draw(LesionRanges(), 16), pixel_mm)
    assert torch.equal(rendered.corrupted_hu[~lungs], hu[~lungs])
    assert float(rendered.lesion_map[~lungs].abs().max()) == 0
    assert float(rendered.lesion_map.max()) <= 1
    assert float(rendered.lesion_map.min()) == 0
    assert (rendered.lesion_map > 0.5).any()


def test_voxels_without_lesion_keep_their_hu() -> None:
    hu, lungs, pixel_mm = chest(16)
    rendered = render(hu, lungs, draw(LesionRanges(), 16), pixel_mm)
    untouched = rendered.lesion_map == 0
    assert torch.equal(rendered.corrupted_hu[untouched], hu[untouched])


def test_ground_glass_only_adds_density() -> None:
    hu, lungs, pixel_mm = chest(24)
    rendered = render(hu, lungs, draw(GROUND_GLASS, 24), pixel_mm)
    added = rendered.corrupted_hu - hu
    assert float(added.min()) >= 0
    assert float(added[rendered.lesion_map > 0.9].mean()) > 100


def test_ground_glass_makes_nothing_denser_than_water() -> None:
    hu, lungs, pixel_mm = chest(8)
    thick = LesionRanges(clean_share=0, dense_share=0, opacity_hu=(3000, 3000))
    rendered = render(hu, lungs, draw(thick, 8), pixel_mm)
    changed = rendered.corrupted_hu != hu
    assert float(rendered.corrupted_hu[changed].max()) < 1


def test_vessels_stay_visible_through_ground_glass_and_vanish_in_consolidation() -> None:
    hu, lungs, pixel_mm = chest(24)
    vessels = lungs & (hu > -200)

    def contrast(rendered: Rendered) -> float:
        deep = rendered.lesion_map > 0.99
        return float(
            rendered.corrupted_hu[deep & vessels].mean()
            - rendered.corrupted_hu[deep & ~vessels].mean()
        )

    assert contrast(render(hu, lungs, draw(GROUND_GLASS, 24), pixel_mm)) > 250
    solid = DENSE.model_copy(update={"halo_mm": (0.0, 0.0)})
    assert abs(contrast(render(hu, lungs, draw(solid, 24), pixel_mm))) < 60


def test_consolidation_reaches_its_density() -> None:
    hu, lungs, pixel_mm = chest(12)
    ranges = DENSE.model_copy(update={"halo_mm": (0.0, 0.0), "dense_hu": (20.0, 20.0)})
    rendered = render(hu, lungs, draw(ranges, 12), pixel_mm)
    deep = rendered.corrupted_hu[rendered.lesion_map == 1]
    assert float(deep.median()) == pytest.approx(20, abs=15)


def test_lesions_reach_the_edge_of_the_lungs() -> None:
    hu, lungs, pixel_mm = chest(24)
    rendered = render(hu, lungs, draw(DENSE, 24), pixel_mm)
    inner = -torch.nn.functional.max_pool2d(-lungs.float(), 3, 1, 1) > 0.5
    rim = lungs & ~inner
    assert (rendered.lesion_map[rim] == 1).any()


def test_clean_draws_leave_the_slice_as_it_is() -> None:
    hu, lungs, pixel_mm = chest(6)
    rendered = render(hu, lungs, draw(LesionRanges(clean_share=1.0), 6), pixel_mm)
    assert torch.equal(rendered.corrupted_hu, hu)
    assert float(rendered.lesion_map.abs().max()) == 0


def test_empty_lungs_stay_clean() -> None:
    hu, lungs, pixel_mm = chest(3)
    lungs[1] = False
    rendered = render(hu, lungs, draw(LesionRanges(clean_share=0), 3), pixel_mm)
    assert torch.equal(rendered.corrupted_hu[1], hu[1])
    assert float(rendered.lesion_map[1].max()) == 0
    assert float(rendered.lesion_map[0].max()) > 0


def test_inputs_are_not_changed() -> None:
    hu, lungs, pixel_mm = chest(4)
    params = draw(LesionRanges(), 4)
    before = [values.clone() for values in (hu, lungs, pixel_mm, *params)]
    render(hu, lungs, params, pixel_mm)
    for values, kept in zip((hu, lungs, pixel_mm, *params), before, strict=True):
        assert torch.equal(values, kept)


@pytest.mark.parametrize("rows", [[0], [3, 1], [7, 6, 5, 4, 3, 2, 1, 0, 9]])
def test_same_params_render_the_same_lesion_in_any_batch(rows: list[int]) -> None:
    hu, lungs, pixel_mm = chest(10, size=101)
    pixel_mm = pixel_mm * torch.linspace(0.8, 1.3, 10)[:, None]
    params = draw(LesionRanges(), 10)
    together = render(hu, lungs, params, pixel_mm)
    apart = render(hu[rows], lungs[rows], params.take(rows), pixel_mm[rows])
    assert torch.equal(apart.corrupted_hu, together.corrupted_hu[rows])
    assert torch.equal(apart.lesion_map, together.lesion_map[rows])


def test_lesion_size_follows_mm_not_pixels() -> None:
    ranges = LesionRanges(
        clean_share=0, foci=(1, 1), radius_mm=(20, 20), outline_roughness=(0, 0),
        elongation=(1, 1), edge_mm=(4, 4),
    )  # fmt: skip
    area_mm2 = []
    for size in (128, 256):
        lungs = torch.ones(8, 1, size, size, dtype=torch.bool)
        hu, pixel_mm = torch.full((8, 1, size, size), -850.0), torch.full((8, 2), 400 / size)
        params = draw(ranges, 8)._replace(place=torch.full((8, 1), 0.5), periphery=torch.zeros(8))
        rendered = render(hu, lungs, params, pixel_mm)
        area_mm2.append(float((rendered.lesion_map[0] > 0.5).sum()) * (400 / size) ** 2)
    assert area_mm2[0] == pytest.approx(area_mm2[1], rel=0.1)


def test_anisotropic_pixels_keep_lesions_round_in_mm() -> None:
    ranges = LesionRanges(
        clean_share=0, foci=(1, 1), radius_mm=(30, 30), outline_roughness=(0, 0),
        elongation=(1, 1), periphery=(0, 0),
    )  # fmt: skip
    lungs = torch.ones(1, 1, 100, 200, dtype=torch.bool)
    params = draw(ranges, 1)._replace(place=torch.tensor([[0.5025]]))
    rendered = render(lungs * -850.0, lungs, params, torch.tensor([[4.0, 2.0]]))
    rows, columns = torch.nonzero(rendered.lesion_map[0, 0] > 0.5, as_tuple=True)
    height = float(rows.max() - rows.min() + 1) * 4
    width = float(columns.max() - columns.min() + 1) * 2
    assert height == pytest.approx(width, abs=9)


def test_periphery_draws_lesions_to_the_outer_rim() -> None:
    hu, lungs, pixel_mm = chest(64)
    x = torch.linspace(-1, 1, 96).abs()

    def lateral(periphery: float) -> float:
        ranges = GROUND_GLASS.model_copy(
            update={"periphery": (periphery, periphery), "radius_mm": (8.0, 12.0)}
        )
        lesion_map = render(hu, lungs, draw(ranges, 64), pixel_mm).lesion_map
        return float((lesion_map * x).sum() / lesion_map.sum())

    assert lateral(1.0) > lateral(0.0) + 0.05


def test_lungs_as_numbers_are_the_same_as_lungs_as_bool() -> None:
    hu, lungs, pixel_mm = chest(4)
    params = draw(LesionRanges(), 4)
    one, other = (render(hu, mask, params, pixel_mm) for mask in (lungs, lungs.float()))
    assert torch.equal(one.corrupted_hu, other.corrupted_hu)


def test_shapes_that_do_not_fit_are_refused() -> None:
    hu, lungs, pixel_mm = chest(2)
    params = draw(LesionRanges(), 2)
    with pytest.raises(ValueError, match="one shape"):
        render(hu, lungs[:, :, 1:], params, pixel_mm)
    with pytest.raises(ValueError, match="2 draws and pixel sizes"):
        render(hu, lungs, params.take([0]), pixel_mm)
    with pytest.raises(ValueError, match=r"pixel sizes \(2, 2\) for 2 slices"):
        render(hu, lungs, params, pixel_mm[:1])


def test_a_slice_of_128_pixels_is_drawn_fast() -> None:
    hu, lungs, pixel_mm = chest(16, size=128)
    params = draw(LesionRanges(), 16)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        best = min(_seconds(hu, lungs, params, pixel_mm) for _ in range(5))
    finally:
        torch.set_num_threads(threads)
    # Measured 2 to 4 ms a slice; the bound leaves room for a busy machine.
    assert best / 16 < 0.02


def _seconds(hu: Tensor, lungs: Tensor, params: LesionParams, pixel_mm: Tensor) -> float:
    start = time.perf_counter()
    render(hu, lungs, params, pixel_mm)
    return time.perf_counter() - start


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
    share = rendered.lesion_map.sum((1, 2, 3)) / lungs.sum((1, 2, 3)).clamp(min=1)
    drawn = share[share > 0]
    assert 0.03 < float(drawn.median()) < 0.35
    assert float(drawn.max()) < 0.95
