"""Whatever ranges may say is drawn, rendered, written down and read again."""

from __future__ import annotations

import pytest
import torch

from covidssl.lesions import (
    Kinds,
    LesionRanges,
    params_from_json,
    params_to_json,
    render,
    sample,
)
from covidssl.lesions.ranges import BOUNDS
from covidssl.randomness import torch_generator
from tests.lesions.chest import chest, chest_volumes

ALL = Kinds(ground_glass=1, consolidation=1, crazy_paving=1, reversed_halo=1)
FOUR = LesionRanges(clean_share=0, kinds=ALL, foci=(4, 4), coverage=(0.6, 0.9))


def at_an_end(name: str, end: int) -> LesionRanges:
    """Ranges of which one lies wholly at its lowest (0) or its highest (1) bound."""
    return LesionRanges.model_validate({**FOUR.model_dump(), name: (BOUNDS[name][end],) * 2})


@pytest.mark.parametrize("end", [0, 1], ids=["lowest", "highest"])
@pytest.mark.parametrize("name", BOUNDS)
def test_ranges_at_their_bounds_render_to_finite_numbers(name: str, end: int) -> None:
    params = sample(at_an_end(name, end), torch_generator(1), 3)
    pictures, volumes = chest(3, size=40), chest_volumes(3, depth=6, size=24)
    for hu, lungs, voxel_mm in (pictures, volumes):
        rendered = render(hu, lungs, params, voxel_mm)
        assert torch.isfinite(rendered.corrupted_hu).all()
        assert 0 <= float(rendered.lesion_map.min()) <= float(rendered.lesion_map.max()) <= 1


@pytest.mark.parametrize("end", [0, 1], ids=["lowest", "highest"])
def test_all_ranges_at_their_bounds_at_once_render_to_finite_numbers(end: int) -> None:
    every = {name: (bounds[end],) * 2 for name, bounds in BOUNDS.items()}
    ranges = LesionRanges.model_validate({"clean_share": 0, "kinds": ALL, **every})
    hu, lungs, voxel_mm = chest(3, size=40)
    rendered = render(hu, lungs, sample(ranges, torch_generator(2), 3), voxel_mm)
    assert torch.isfinite(rendered.corrupted_hu).all()
    assert torch.isfinite(rendered.lesion_map).all()


@pytest.mark.parametrize("span", [(0, 0), (0, 1), (1, 1)], ids=["lowest", "whole", "highest"])
def test_whatever_is_drawn_can_be_written_and_read_again(span: tuple[int, int]) -> None:
    ends = {name: (bounds[span[0]], bounds[span[1]]) for name, bounds in BOUNDS.items()}
    for clean_share in (0.0, 1.0):
        ranges = LesionRanges.model_validate({"clean_share": clean_share, **ends})
        params = sample(ranges, torch_generator(3), 500)
        again = params_from_json(params_to_json(params))
        for one, other in zip(params, again, strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
