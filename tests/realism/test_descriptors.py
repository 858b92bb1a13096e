from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from covidssl.realism.descriptors import BINS_HU, Described, describe, spectrum_slope
from covidssl.realism.regions import PATCH_PX, dense_part, regions
from tests.realism.chests import as_stack, disc

SIZE, MM = 96, 1.5


def ramp(radius_mm: float, width_mm: float, inside: float = -200.0) -> NDArray[np.float32]:
    """A disc that fades linearly from `inside` to -850 HU over `width_mm` about its border."""
    rows, columns = np.ogrid[:SIZE, :SIZE]
    level = radius_mm - np.hypot(rows - 48, columns - 48) * MM
    share = np.clip(level / width_mm + 0.5, 0, 1)
    return (-850 + share * (inside + 850)).astype(np.float32)


def described(radius_mm: float, width_mm: float) -> Described:
    hu = ramp(radius_mm, width_mm)
    return describe(regions(as_stack(hu, disc(48, 48, radius_mm / MM, SIZE), MM)))


@pytest.mark.parametrize("radius_mm", [6.0, 12.0, 25.0])
def test_the_diameter_of_a_disc_is_known(radius_mm: float) -> None:
    found = described(radius_mm, 8.0).column("diameter_mm")
    assert found == pytest.approx([2 * radius_mm], rel=0.06)


@pytest.mark.parametrize("width_mm", [6.0, 9.0, 12.0])
def test_slope_and_width_of_a_linear_edge_are_known(width_mm: float) -> None:
    found = described(25.0, width_mm)
    assert found.column("edge_hu_per_mm")[0] == pytest.approx(650 / width_mm, rel=0.12)
    assert found.column("edge_width_mm")[0] == pytest.approx(width_mm, rel=0.15)


def test_a_sharper_edge_is_steeper() -> None:
    slopes = [described(20.0, width).column("edge_hu_per_mm")[0] for width in (4.0, 8.0, 16.0)]
    assert slopes == sorted(slopes, reverse=True)


def test_densities_inside_and_around_are_known() -> None:
    hu = ramp(20.0, 0.5)
    mask = disc(48, 48, 20 / MM, SIZE)
    found = describe(regions(as_stack(hu, mask, MM)))
    assert found.column("inside_hu")[0] == pytest.approx(-200, abs=1)
    assert found.column("ring_hu")[0] == pytest.approx(-850, abs=1)
    middles = (BINS_HU[:-1] + BINS_HU[1:]) / 2
    assert found.inside[0] @ middles == pytest.approx(-200, abs=20)
    assert found.inside[0].sum() == pytest.approx(1)


def test_the_standard_deviation_inside_is_that_of_the_noise() -> None:
    hu = ramp(30.0, 0.5) + np.random.default_rng(0).normal(0, 70, (SIZE, SIZE)).astype(np.float32)
    found = describe(regions(as_stack(hu, disc(48, 48, 20, SIZE), MM)))
    assert found.column("texture_sd_hu")[0] == pytest.approx(70, rel=0.1)


def test_depth_is_the_distance_to_the_outside_of_the_lungs() -> None:
    hu = np.full((SIZE, SIZE), -850.0, np.float32)
    stack = as_stack(hu, disc(48, 30, 5, SIZE), MM)
    lungs = np.zeros((1, SIZE, SIZE), dtype=bool)
    lungs[:, :, 10:90] = True
    depth = describe(regions(replace(stack, lungs=lungs))).column("depth_mm")[0]
    assert depth == pytest.approx((30 - 9) * MM, rel=0.03)


def test_where_a_lesion_meets_the_pleura_is_no_edge() -> None:
    # Half a disc on the chest wall, and soft tissue beyond: the edge is that towards the lung.
    hu = ramp(25.0, 8.0)
    hu[:, :48] = 40.0
    mask = disc(48, 48, 25 / MM, SIZE)
    mask[:, :48] = False
    stack = as_stack(hu, mask, MM)
    lungs = np.ones((1, SIZE, SIZE), dtype=bool)
    lungs[:, :, :48] = False
    found = describe(regions(replace(stack, lungs=lungs)))
    assert found.column("edge_hu_per_mm")[0] == pytest.approx(650 / 8, rel=0.12)
    assert found.column("ring_hu")[0] < -700


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0, 3.0])
def test_the_slope_of_noise_of_a_known_spectrum_is_found(power: float) -> None:
    rng = np.random.default_rng(1)
    size = 128
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij"))
    radius[0, 0] = np.inf
    white = np.fft.fft2(rng.normal(size=(40, size, size)))
    noise = np.fft.ifft2(white * radius ** (-power / 2)).real
    slopes = [spectrum_slope(window[40:56, 40:56]) for window in noise]
    assert np.mean(slopes) == pytest.approx(-power, abs=0.35)


def test_small_components_and_lesions_that_leave_the_allowed_lung_are_left_out() -> None:
    mask = disc(30, 30, 8, SIZE) | disc(70, 70, 8, SIZE) | disc(10, 80, 1, SIZE)
    stack = as_stack(ramp(20.0, 4.0), mask, MM)
    assert len(regions(stack)) == 2
    allowed = np.zeros((1, SIZE, SIZE), dtype=bool)
    allowed[:, :50, :50] = True
    (kept,) = regions(stack, allowed)
    assert kept.patch.shape == (PATCH_PX, PATCH_PX)
    assert kept.mask.sum() == disc(30, 30, 8, SIZE).sum()


def test_the_dense_part_leaves_faint_lesions_out() -> None:
    hu = np.full((SIZE, SIZE), -850.0, np.float32)
    dense, faint = disc(30, 30, 8, SIZE), disc(70, 70, 8, SIZE)
    hu[dense], hu[faint] = -100.0, -600.0
    part = dense_part(as_stack(hu, dense | faint, MM), -400.0)[0]
    assert part[30, 30]
    assert not part[faint].any()


def test_no_lesions_are_described_by_empty_columns() -> None:
    nothing = describe([])
    assert nothing.column("diameter_mm").shape == (0,)
    assert nothing.inside.shape == (0, len(BINS_HU) - 1)
