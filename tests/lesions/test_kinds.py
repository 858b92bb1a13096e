"""Every kind of lesion does what a radiologist calls by its name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from covidssl.lesions import LesionRanges, Rendered, render
from covidssl.phantom import SPACING_MM, phantom_chest
from tests.lesions.chest import PLAIN, chest, draw, grown, only

LARGE = PLAIN.model_copy(update={"radius_mm": (40.0, 60.0), "foci": (2, 4)})


def contrast(rendered: Rendered, hu: Tensor, lungs: Tensor) -> float:
    """HU of vessels over that of the lung about them, deep in lesions."""
    vessels, deep = lungs & (hu > -200), rendered.lesion_map > 0.99
    after = rendered.corrupted_hu
    return float(after[deep & vessels].mean() - after[deep & ~vessels].mean())


def test_vessels_stay_in_ground_glass_and_vanish_in_consolidation() -> None:
    hu, lungs, pixel_mm = chest(24)
    glass = only("ground_glass", LARGE, opacity_hu=(120, 480))
    assert contrast(render(hu, lungs, draw(glass, 24), pixel_mm), hu, lungs) > 250
    solid = only("consolidation", LARGE, halo_mm=(0, 0))
    assert abs(contrast(render(hu, lungs, draw(solid, 24), pixel_mm), hu, lungs)) < 60


def test_fine_vessels_stay_where_vessels_are_kept_and_are_covered_elsewhere() -> None:
    lungs = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    hu = torch.full((1, 1, 64, 64), -850.0)
    hu[..., ::8] = -650.0
    left = {}
    for kept in (0.0, 0.5, 1.0):
        ranges = only(
            "ground_glass", radius_mm=(300, 300), opacity_hu=(300, 300), vessels_kept=(kept, kept)
        )
        after = render(hu, lungs, draw(ranges, 1), torch.full((1, 2), 3.0)).corrupted_hu[0, 0]
        left[kept] = float(after[:, 8].mean() - after[:, 4].mean())
    assert left[0.0] == pytest.approx(0, abs=1)
    # Lung has 0.85 air and gains 300 HU, the vessel has 0.65 and gains 300 x 0.65 / 0.85.
    assert left[1.0] == pytest.approx(200 - 300 * 0.2 / 0.85, abs=1)
    assert left[0.5] == pytest.approx(left[1.0] / 2, abs=1)


def test_ground_glass_adds_its_opacity_to_aerated_lung() -> None:
    lungs = torch.ones(4, 1, 64, 64, dtype=torch.bool)
    ranges = only("ground_glass", radius_mm=(300, 300), opacity_hu=(250, 250))
    rendered = render(lungs * -850.0, lungs, draw(ranges, 4), torch.full((4, 2), 3.0))
    assert float(rendered.corrupted_hu.mean()) == pytest.approx(-600, abs=1)


def test_ground_glass_makes_nothing_denser_than_water() -> None:
    hu, lungs, pixel_mm = chest(8)
    for kept in (0.0, 1.0):
        thick = only("ground_glass", LARGE, opacity_hu=(3000, 3000), vessels_kept=(kept, kept))
        rendered = render(hu, lungs, draw(thick, 8), pixel_mm)
        changed = rendered.corrupted_hu != hu
        assert float(rendered.corrupted_hu[changed].max()) < 1


def test_texture_contrast_is_the_deviation_over_the_mean() -> None:
    lungs = torch.ones(16, 1, 96, 96, dtype=torch.bool)
    for wanted in (0.0, 0.2):
        ranges = only(
            "ground_glass", radius_mm=(900, 900), opacity_hu=(200, 200),
            texture_contrast=(wanted, wanted), texture_mm=(8, 8),
        )  # fmt: skip
        rendered = render(lungs * -850.0, lungs, draw(ranges, 16), torch.full((16, 2), 2.0))
        added = rendered.corrupted_hu + 850
        assert float(added.std() / added.mean()) == pytest.approx(wanted, abs=0.03)


def test_consolidation_reaches_its_density_and_has_its_contrast() -> None:
    lungs = torch.ones(16, 1, 96, 96, dtype=torch.bool)
    ranges = only(
        "consolidation", radius_mm=(900, 900), halo_mm=(0, 0), dense_hu=(20, 20),
        dense_contrast_hu=(50, 50), texture_mm=(6, 6),
    )  # fmt: skip
    after = render(lungs * -850.0, lungs, draw(ranges, 16), torch.full((16, 2), 2.0)).corrupted_hu
    assert float(after.median()) == pytest.approx(20, abs=10)
    assert float(after.std()) == pytest.approx(50, abs=8)


def test_a_consolidation_is_lighter_where_air_is_left_and_hardly_denser_than_fluid() -> None:
    lungs = torch.ones(16, 1, 96, 96, dtype=torch.bool)
    ranges = only(
        "consolidation", radius_mm=(900, 900), halo_mm=(0, 0), dense_hu=(0, 0),
        dense_contrast_hu=(100, 100), texture_mm=(6, 6),
    )  # fmt: skip
    after = render(lungs * -850.0, lungs, draw(ranges, 16), torch.full((16, 2), 2.0)).corrupted_hu
    light, dense = after.quantile(0.05), after.quantile(0.95)
    assert -300 < float(light) < -150
    assert 30 < float(dense) < 90
    assert float(after.max()) < 100


def test_a_weak_dense_lesion_is_blended() -> None:
    lungs = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    ranges = only(
        "consolidation", radius_mm=(900, 900), halo_mm=(0, 0), dense_hu=(0, 0), opacity_hu=(0, 0),
        dense_contrast_hu=(0, 0), dense_opacity=(0.25, 0.25),
    )  # fmt: skip
    after = render(lungs * -800.0, lungs, draw(ranges, 2), torch.full((2, 2), 2.0)).corrupted_hu
    assert float(after.mean()) == pytest.approx(-600, abs=1)


def test_a_consolidation_lies_within_a_halo_of_ground_glass() -> None:
    profile = radial_profile("consolidation", halo_mm=(12, 12), dense_hu=(0, 0))
    assert profile[2] == pytest.approx(0, abs=5)
    assert profile[34] == pytest.approx(-600, abs=10)
    assert profile[48] == pytest.approx(-850, abs=1)


def radial_profile(kind: str, **changes: tuple[float, float]) -> list[float]:
    """HU along a row from the middle of one focus of 40 mm outwards, 1 mm a voxel."""
    lungs = torch.ones(1, 1, 161, 161, dtype=torch.bool)
    ranges = only(
        kind, PLAIN, foci=(1, 1), radius_mm=(40, 40), edge_mm=(4, 4), opacity_hu=(250, 250),
        dense_contrast_hu=(0, 0), **changes,
    )  # fmt: skip
    params = draw(ranges, 1)._replace(place=torch.tensor([[0.5]]))
    after = render(lungs * -850.0, lungs, params, torch.ones(1, 2)).corrupted_hu[0, 0]
    return after[80, 80:].tolist()


def test_a_reversed_halo_is_a_dense_ring_about_ground_glass() -> None:
    profile = radial_profile("reversed_halo", ring_mm=(10, 10), dense_hu=(0, 0))
    assert profile[5] == pytest.approx(-600, abs=10)
    assert profile[35] == pytest.approx(0, abs=5)
    assert profile[48] == pytest.approx(-850, abs=1)
    dense = [mm for mm, hu in enumerate(profile) if hu > -300]
    assert len(dense) == pytest.approx(10, abs=3)


@pytest.mark.parametrize("mesh_mm", [8.0, 16.0])
def test_crazy_paving_has_lines_of_the_wanted_spacing(mesh_mm: float) -> None:
    lungs = torch.ones(4, 1, 256, 256, dtype=torch.bool)
    ranges = only(
        "crazy_paving", radius_mm=(900, 900), opacity_hu=(250, 250), mesh_mm=(mesh_mm, mesh_mm),
        mesh_hu=(300, 300), mesh_width_mm=(1, 1),
    )  # fmt: skip
    hu = lungs * -850.0
    added = render(hu, lungs, draw(ranges, 4), torch.full((4, 2), 0.5)).corrupted_hu + 600
    assert float(added.min()) == pytest.approx(0, abs=1)
    assert float(added.max()) == pytest.approx(300, rel=0.15)
    # A line across a mesh of polygons of mean area a^2 meets a septum about every 0.8 a.
    on = added[..., ::4, :] > 60
    meets = (on[..., 1:] & ~on[..., :-1]).float().sum(-1).mean()
    assert 128 / float(meets) == pytest.approx(0.8 * mesh_mm, rel=0.25)


def test_a_mesh_that_is_finer_than_the_voxels_still_adds_its_mean_density() -> None:
    means = []
    for pixel_mm in (0.5, 2.0):
        lungs = torch.ones(4, 1, 96, 96, dtype=torch.bool)
        ranges = only("crazy_paving", radius_mm=(900, 900), opacity_hu=(250, 250),
                      mesh_mm=(10, 10), mesh_hu=(300, 300), mesh_width_mm=(1.5, 1.5))  # fmt: skip
        pixel = torch.full((4, 2), pixel_mm)
        means.append(
            float(render(lungs * -850.0, lungs, draw(ranges, 4), pixel).corrupted_hu.mean())
        )
    assert means[0] + 600 == pytest.approx(means[1] + 600, rel=0.25)


def phantom_slice() -> tuple[Tensor, Tensor, Tensor]:
    """One slice of a phantom without lesions, its lungs, its pixel size."""
    scan = phantom_chest(3, lesions=False)
    hu = torch.tensor(scan.ct.array[7].astype(np.float32))[None, None]
    return hu, torch.tensor(scan.lungs.array[7] > 0)[None, None], torch.tensor([SPACING_MM[1:]])


def test_a_consolidation_at_the_pleura_hides_its_border_and_only_raises_beyond_it() -> None:
    hu, lungs, pixel_mm = (t.repeat(12, *[1] * (t.ndim - 1)) for t in phantom_slice())

    def border(rendered: Rendered, after: Tensor) -> float:
        # Neighbours along a row, one in the filled lung and one outside it.
        filled = (rendered.lesion_map == 1) & lungs
        pair = (filled[..., :-1] & ~lungs[..., 1:]) | (filled[..., 1:] & ~lungs[..., :-1])
        return float((after.diff(dim=-1).abs()[pair] > 100).float().mean())

    for swallow in (0.0, 5.0):
        ranges = only(
            "consolidation", PLAIN, radius_mm=(30, 40), halo_mm=(0, 0), dense_hu=(50, 50),
            dense_contrast_hu=(0, 0), periphery=(1, 1), swallow_mm=(swallow, swallow), foci=(3, 3),
        )  # fmt: skip
        rendered = render(hu, lungs, draw(ranges, 12), pixel_mm)
        after = rendered.corrupted_hu
        # Air beside the chest's inside is raised, so that what is left of the border is bone.
        assert border(rendered, after) < 0.3 * border(rendered, torch.where(lungs, after, hu))
        outside = after[~lungs] - hu[~lungs]
        assert float(outside.min()) >= 0
        assert float(outside.max()) > 50
        assert torch.equal(rendered.lesion_map[~lungs] > 0, outside > 0)


@pytest.mark.parametrize("swallow", [0.0, 1.0])
def test_a_dense_lesion_leaves_no_dark_line_about_the_lung_mask(swallow: float) -> None:
    """Partly filled voxels beside the mask: filled next to it, in part across a corner."""
    lungs = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    lungs[..., 16:48, 16:48] = True
    hu = torch.where(grown(lungs, 3.0, 2.0), -400.0, 40.0)
    hu[lungs] = -850.0
    ranges = only(
        "consolidation", radius_mm=(900, 900), halo_mm=(0, 0), dense_hu=(0, 0),
        dense_contrast_hu=(0, 0), swallow_mm=(swallow, swallow),
    )  # fmt: skip
    rendered = render(hu, lungs, draw(ranges, 1), torch.full((1, 2), 2.0))
    after = rendered.corrupted_hu[0, 0]
    assert float(after[15:49, 16:48].min()) > -1
    assert float(after[15, 15]) == pytest.approx(-400 * (1 - 0.59), abs=5)
    # Muscle is neither lowered nor reached two voxels away.
    assert torch.equal(after[:15], hu[0, 0, :15])
    assert float(rendered.lesion_map[0, 0, :15].max()) == 0


def test_a_reversed_halo_is_open_where_the_threshold_breaks_its_ring() -> None:
    lungs = torch.ones(24, 1, 81, 81, dtype=torch.bool)
    shares = {}
    for coverage in (0.5, 1.0):
        ranges = only(
            "reversed_halo", foci=(1, 1), radius_mm=(60, 60), ring_mm=(12, 12), edge_mm=(4, 4),
            dense_hu=(-150, -150), dense_contrast_hu=(0, 0), opacity_hu=(250, 250),
            feature_mm=(20, 20), coverage=(coverage, coverage),
        )  # fmt: skip
        params = draw(ranges, 24)._replace(place=torch.full((24, 1), 0.5))
        after = render(lungs * -850.0, lungs, params, torch.full((24, 2), 2.0))
        # Along the middle of the ring, 54 mm from the centre.
        around = torch.linspace(0, 6.283, 200)
        y, x = (40 + 27 * around.sin()).round().long(), (40 + 27 * around.cos()).round().long()
        ring = after.corrupted_hu[:, 0, y, x]
        shares[coverage] = float((ring > -300).float().mean())
        # What is not dense is ground glass: the outline itself is not cut.
        assert float(ring.min()) > -610
    assert shares[1.0] > 0.95
    assert shares[0.5] == pytest.approx(0.5, abs=0.15)


def test_the_kinds_of_a_draw_are_drawn_where_it_says() -> None:
    """Two foci of two kinds in one picture: one side dense, the other hazy."""
    lungs = torch.zeros(1, 1, 80, 160, dtype=torch.bool)
    lungs[..., 10:70, 10:70] = lungs[..., 10:70, 90:150] = True
    params = draw(only("ground_glass", foci=(2, 2), radius_mm=(20, 20)), 1)._replace(
        place=torch.tensor([[0.25, 0.75]]), kind=torch.tensor([[0, 1]]),
        dense_hu=torch.tensor([0.0]), halo_mm=torch.tensor([0.0]), opacity_hu=torch.tensor([200.0]),
    )  # fmt: skip
    after = render(lungs * -850.0, lungs, params, torch.ones(1, 2)).corrupted_hu[0, 0]
    left, right = after[:, :80][lungs[0, 0, :, :80]], after[:, 80:][lungs[0, 0, :, 80:]]
    assert float(left.max()) == pytest.approx(-650, abs=5)
    assert float(right.max()) > -150


def test_the_default_mixture_draws_all_kinds() -> None:
    kinds = draw(LesionRanges(), 200).kind
    assert sorted(set(kinds.flatten().tolist())) == [0, 1, 2, 3]


def test_a_voxel_that_two_dense_kinds_raise_is_no_more_than_all_lesion() -> None:
    hu, lungs, pixel_mm = chest(6)
    ranges = LesionRanges.model_validate({
        **PLAIN.model_dump(), "kinds": {"consolidation": 1, "reversed_halo": 1}, "foci": (60, 60),
        "swallow_mm": (10, 10),
    })  # fmt: skip
    lesion = render(hu, lungs, draw(ranges, 6), pixel_mm).lesion_map
    assert float(lesion[~lungs].max()) > 0.9
    assert float(lesion.max()) <= 1
