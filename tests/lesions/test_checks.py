"""What cannot be rendered is refused by name, before anything is drawn."""

from __future__ import annotations

import pytest
import torch

from covidssl.lesions import LesionRanges, render
from tests.lesions.chest import chest, draw, only


def test_shapes_that_do_not_fit_are_refused() -> None:
    hu, lungs, pixel_mm = chest(2)
    params = draw(LesionRanges(), 2)
    with pytest.raises(ValueError, match="one shape"):
        render(hu, lungs[:, :, 1:], params, pixel_mm)
    with pytest.raises(ValueError, match="one shape"):
        render(hu[:, 0], lungs[:, 0], params, pixel_mm)
    with pytest.raises(ValueError, match="2 draws and voxel sizes"):
        render(hu, lungs, params.take([0]), pixel_mm)
    with pytest.raises(ValueError, match=r"voxel sizes \(2, 2\) for 2 pictures"):
        render(hu, lungs, params, pixel_mm[:1])
    with pytest.raises(ValueError, match=r"voxel sizes \(2, 3\) for 2 pictures"):
        render(hu[:, :, None], lungs[:, :, None], params, pixel_mm)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf"), 1e-60])
def test_voxels_without_an_extent_are_refused(wrong: float) -> None:
    hu, lungs, pixel_mm = chest(2)
    sizes = pixel_mm.double()
    sizes[1, 0] = wrong
    for clean_share in (0.0, 1.0):
        params = draw(LesionRanges(clean_share=clean_share), 2)
        with pytest.raises(ValueError, match="voxel_mm: .* voxel in mm must be above 0 and finite"):
            render(hu, lungs, params, sizes)


@pytest.mark.parametrize("shape", [(2, 1, 0, 5), (2, 1, 5, 0), (2, 1, 0, 5, 5)])
def test_pictures_without_a_voxel_are_refused(shape: tuple[int, ...]) -> None:
    empty, voxel_mm = torch.zeros(shape), torch.ones(2, len(shape) - 2)
    with pytest.raises(ValueError, match="at least one voxel along each axis"):
        render(empty, empty > 0, draw(LesionRanges(), 2), voxel_mm)


@pytest.mark.parametrize("name", ["edge_mm", "feature_mm", "radius_mm", "opacity_hu", "place"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_draws_that_are_no_numbers_are_refused_by_name(name: str, wrong: float) -> None:
    hu, lungs, pixel_mm = chest(2)
    params = draw(LesionRanges(clean_share=0), 2)
    getattr(params, name)[1] = wrong
    with pytest.raises(ValueError, match=f"params.{name}: .* must be finite"):
        render(hu, lungs, params, pixel_mm)


@pytest.mark.parametrize("dtype", [torch.int16, torch.uint8, torch.int64, torch.bool])
def test_pictures_of_whole_numbers_are_refused(dtype: torch.dtype) -> None:
    hu, lungs, pixel_mm = chest(2)
    said = rf"floating-point HU such as float32, got a clean_hu of {dtype}"
    with pytest.raises(TypeError, match=said):
        render(hu.to(dtype), lungs, draw(LesionRanges(), 2), pixel_mm)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("clean_share", [0.0, 1.0])
def test_other_floats_come_out_as_float32(dtype: torch.dtype, clean_share: float) -> None:
    hu, lungs, pixel_mm = chest(2)
    hu = hu.to(dtype)
    params = draw(only("consolidation", LesionRanges(), clean_share=clean_share), 2)
    rendered = render(hu, lungs, params, pixel_mm)
    expected = render(hu.float(), lungs, params, pixel_mm)
    assert rendered.corrupted_hu.dtype == rendered.lesion_map.dtype == torch.float32
    assert torch.equal(rendered.corrupted_hu, expected.corrupted_hu)
    assert torch.equal(rendered.lesion_map, expected.lesion_map)
