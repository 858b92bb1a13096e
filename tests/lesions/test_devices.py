"""Lesions drawn on a GPU are those drawn on a CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from covidssl.lesions import preset, render
from tests.lesions.chest import chest, chest_volumes, draw

NAMES = ("covid", "ggo", "consolidation", "crazy_paving", "reversed_halo")


@pytest.mark.gpu
@pytest.mark.parametrize("scene", [chest, chest_volumes])
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_draws_the_lesions_that_a_cpu_draws(
    name: str, scene: Callable[[int], tuple[Tensor, Tensor, Tensor]]
) -> None:
    hu, lungs, voxel_mm = scene(4)
    params = draw(preset(name), 4)
    here = render(hu, lungs, params, voxel_mm)
    there = render(hu.cuda(), lungs.cuda(), params, voxel_mm)
    # A voxel at an outline may fall to either side by the last bit of a field.
    for one, other, within in (
        (here.corrupted_hu, there.corrupted_hu.cpu(), 1.0),
        (here.lesion_map, there.lesion_map.cpu(), 2e-3),
    ):
        apart = (one - other).abs()
        assert float((apart > within).float().mean()) < 1e-3
        assert float(apart.mean()) < within / 10
