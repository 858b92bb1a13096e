"""The lesion map finds what is too dense or was lifted off, and the burden measures it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from covidssl.hounsfield import Pixels
from covidssl.maps.burden import burden_of
from covidssl.maps.lesion import Looked, dense_parts, lesion_scores, through_window
from covidssl.maps.planes import Planes
from covidssl.maps.scan_maps import maps_of
from covidssl.prediction import TorchBackend
from covidssl.scan_frames import frames_of_scan
from covidssl.volume import StoredGrid, Volume
from tests.maps.made_maps import Chest, chest, lungs_as_known, said_of, untaught

AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])


def scan(
    hu: NDArray[Any], spacing_mm: tuple[float, float, float] | None = (4.0, 2.0, 2.0)
) -> Volume:
    return Volume(hu, Pixels.HU, spacing_mm, AFFINE if spacing_mm else None)


def flat_frames(unit: NDArray[Any], pixels: Pixels = Pixels.HU) -> Looked:
    """Frames of 2 mm a pixel, lung but for a border of 8 pixels of tissue."""
    inside = np.zeros(unit.shape, dtype=np.float32)
    inside[:, 8:-8, 8:-8] = 1
    shown = np.where(inside > 0, unit, 0.74)
    stored = np.rint(shown * 65535).astype(np.uint16)
    return Looked(stored, inside, pixels, (-1000.0, 400.0), 2.0)


def blind_network() -> Any:
    """The restoration network as it begins: what goes in comes out."""
    return untaught().restoration


def lung(edge: int = 64) -> NDArray[np.float32]:
    return np.full((2, edge, edge), 0.1, dtype=np.float32)


@pytest.mark.parametrize("pixels", list(Pixels))
def test_consolidation_at_the_wall_shows_where_the_network_is_blind(pixels: Pixels) -> None:
    unit = lung()
    unit[0, 20:36, 8:20] = 0.7
    network = blind_network()
    scores = lesion_scores(network, flat_frames(unit, pixels))
    assert scores[0, 24:32, 10:18].min() > 0.3
    assert scores[0, 20:36, 40:].max() < 1e-6
    assert scores[1].max() < 1e-6


def test_vessels_do_not_light_up_but_a_lesion_as_dense_does() -> None:
    unit = lung()
    unit[0, 20:23, 10:50] = 0.7  # 6 mm across
    unit[0, 36:50, 30:44] = 0.7
    network = blind_network()
    scores = lesion_scores(network, flat_frames(unit))
    assert scores[0, 10:32].max() < 1e-6
    assert scores[0, 40:46, 34:40].min() > 0.3


def test_what_the_network_takes_off_all_lung_alike_is_no_lesion() -> None:
    """Another window makes it come back darker everywhere; what is more than that counts."""
    network = blind_network()
    with torch.no_grad():
        network.decoder.last.bias[0] = -0.05
    assert lesion_scores(network, flat_frames(lung())).max() < 1e-3


def test_what_the_network_lifts_off_shows_though_it_is_faint() -> None:
    """Its features of a brighter patch are made to be taken off."""
    network = blind_network()
    unit = lung()
    unit[0, 24:40, 24:40] = 0.25  # below the density that counts by itself
    blind = lesion_scores(network, flat_frames(unit))
    assert blind.max() < 1e-6
    with torch.no_grad():
        # A change that grows with brightness: solved for on the features of this very picture.
        caught: list[torch.Tensor] = []
        hook = network.decoder.last.register_forward_pre_hook(
            lambda _, given: caught.append(*given)
        )
        pictures = torch.from_numpy(flat_frames(unit).frames.astype(np.float32) / 65535)[:, None]
        network(pictures)
        hook.remove()
        features = caught[0].permute(0, 2, 3, 1).reshape(-1, caught[0].shape[1])
        wanted = torch.zeros_like(pictures)
        wanted[0, 0, 24:40, 24:40] = -0.4
        known = torch.cat([features, torch.ones(len(features), 1)], dim=1)
        solved = torch.linalg.lstsq(known, wanted.reshape(-1, 1)).solution[:, 0]
        network.decoder.last.weight[0, :, 0, 0] = solved[:-1]
        network.decoder.last.bias[0] = solved[-1]
    scores = lesion_scores(network, flat_frames(unit))
    inside = scores[0, 28:36, 28:36].mean()
    assert inside > 0.05
    assert inside > 4 * scores[1, 12:-12, 12:-12].mean()


@pytest.mark.parametrize("depth", [None, 12])
def test_the_burden_is_the_balls_share_of_the_lungs(depth: int | None) -> None:
    made = chest(radius=7.0)
    said = said_of(scan(made.hu), made.lungs, untaught(depth))
    burden = said.answer.burden
    assert burden is not None
    assert burden.right is not None
    assert burden.left is not None
    share = 100 * made.ball.sum() / made.lungs.sum()
    assert burden.both.percent == pytest.approx(share, rel=0.3)
    assert burden.left.percent < 0.2
    assert burden.right.percent > burden.both.percent
    lungs_ml = made.lungs.sum() * 16 / 1000
    assert burden.both.lung_ml == pytest.approx(lungs_ml)
    assert burden.both.lesion_ml == pytest.approx(burden.both.percent / 100 * lungs_ml)
    by_side = (burden.right.lesion_ml or 0) + (burden.left.lesion_ml or 0)
    assert by_side == pytest.approx(burden.both.lesion_ml, rel=0.02)


def test_without_a_spacing_there_are_no_millilitres() -> None:
    made = chest()
    burden = said_of(scan(made.hu, None), made.lungs, untaught()).answer.burden
    assert burden is not None
    assert burden.both.percent > 0
    assert burden.both.lesion_ml is burden.both.lung_ml is None


def test_without_a_restoration_network_there_is_evidence_but_no_lesion_map() -> None:
    made = chest()
    maps = said_of(scan(made.hu), made.lungs, untaught(restores=False)).maps
    assert maps is not None
    assert [maps.lesion, maps.lesion_planes, maps.burden] == [None] * 3
    assert maps.evidence is not None
    assert np.abs(maps.evidence).max() > 0


def test_lungs_that_look_wrong_give_no_lesion_map() -> None:
    made, model = chest(), untaught()
    ct = scan(made.hu)
    known = lungs_as_known(ct, made.lungs)
    wrong = type(known)(known.mask, known.slice_share, "no lung found")
    cut = frames_of_scan(ct, wrong, model.card.frame, 4)
    maps = maps_of(model, ct, wrong, cut, np.full(len(cut.frames), 0.25))
    assert [maps.lesion, maps.burden] == [None] * 2


def looked_at(ct: Volume, made: Chest) -> NDArray[np.float64]:
    """The slices that the lesion map was made on."""
    maps = said_of(ct, made.lungs, untaught()).maps
    assert maps is not None
    assert maps.lesion_planes is not None
    return maps.lesion_planes.at


def test_thin_slices_are_looked_at_every_three_millimetres() -> None:
    made = chest()
    thin = scan(made.hu, (0.8, 2.0, 2.0))
    at = [looked_at(ct, made) for ct in (thin, scan(made.hu))]
    assert np.diff(at[0]).max() == 3
    assert (at[0][0], at[0][-1]) == (0, len(made.hu) - 1)
    assert np.array_equal(at[1], np.arange(len(made.hu)))


def test_between_two_planes_a_map_goes_straight_and_beyond_its_reach_it_is_nothing() -> None:
    values = np.stack([np.full((2, 2), value, dtype=np.float32) for value in (1.0, 3.0)])
    planes = Planes(values, np.array([4.0, 8.0]), reach=2.0)
    found = planes.on(np.array([1, 2, 4, 5, 6, 8, 10, 11]))[:, 0, 0]
    assert found.tolist() == [0, 1, 1, 1.5, 2, 3, 3, 0]


def test_a_map_of_one_plane_stands_for_its_slice() -> None:
    planes = Planes(np.ones((1, 2, 2), dtype=np.float32), np.array([3.0]))
    assert planes.on(np.array([2, 3, 4]))[:, 0, 0].tolist() == [0, 1, 0]


def test_a_plane_counts_by_what_lies_nearest_to_it() -> None:
    """Planes at 0, 2, 3 and 7: they stand for 2, 1.5, 2.5 and 4 slices, the ends beyond them."""
    lungs = lungs_as_known(scan(np.zeros((8, 4, 4), np.int16)), np.ones((8, 4, 4), dtype=bool))
    lesion = np.zeros((4, 4, 4), dtype=bool)
    lesion[1], lesion[3, :2] = True, True
    inside = np.ones((4, 4, 4), dtype=np.float32)
    right = inside * (np.arange(4) < 2)
    found = burden_of(lungs, lesion, inside, right, np.array([0.0, 2.0, 3.0, 7.0]))
    assert found.both.percent == pytest.approx(100 * (1.5 + 4 / 2) / 10)


@pytest.mark.parametrize("spacing", [None, (4.0, 2.0, 2.0)])
def test_without_an_orientation_no_side_is_said(
    spacing: tuple[float, float, float] | None,
) -> None:
    """A picture may be mirrored; a file may say how large voxels are and not how they lie."""
    made = chest()
    ct = Volume(made.hu, Pixels.HU, spacing)
    burden = said_of(ct, made.lungs, untaught()).answer.burden
    assert burden is not None
    assert burden.both.percent > 0
    assert burden.right is burden.left is None


def test_sides_are_said_where_the_orientation_is_known_and_the_size_is_not() -> None:
    made = chest()
    stored = StoredGrid((len(made.hu), *made.hu.shape[1:]), AFFINE)
    ct = Volume(made.hu, Pixels.HU, stored=stored)
    burden = said_of(ct, made.lungs, untaught()).answer.burden
    assert burden is not None
    assert burden.right is not None


@pytest.mark.parametrize("depth", [None, 12])
def test_the_evidence_of_all_frames_adds_up_to_the_scans_logit(depth: int | None) -> None:
    made, model = chest(), untaught(depth)
    ct = scan(made.hu)
    lungs = lungs_as_known(ct, made.lungs)
    cut = frames_of_scan(ct, lungs, model.card.frame, 4)
    said = TorchBackend(model).scores(cut.frames, evidence=True)
    weight = np.arange(1.0, len(said.logit) + 1)
    weight /= weight.sum()
    expected = float(said.logit @ weight) - 0.3
    asked, known = (
        maps_of(model, ct, lungs, cut, weight, evidence).evidence
        for evidence in (None, said.evidence)
    )
    assert asked is not None
    assert known is not None
    assert np.array_equal(asked, known)
    assert known.sum() == pytest.approx(expected, rel=1e-3)


def test_the_window_of_a_picture_does_not_matter_nor_does_its_changing_from_slice_to_slice() -> (
    None
):
    unit = lung()
    unit[0, 20:36, 20:36] = 0.6
    seen = flat_frames(unit, Pixels.WINDOWED)
    other = seen.frames.astype(np.float64)
    other[0] = other[0] * 0.7 + 12000
    other[1] = other[1] * 0.6 + 10500
    network = blind_network()
    first, second = (
        lesion_scores(network, seen._replace(frames=np.rint(frames).astype(np.uint16)))
        for frames in (seen.frames, other)
    )
    assert first[0, 26:30, 26:30].min() > 0.2
    assert np.abs(first - second).max() < 2e-3


def test_hu_are_seen_through_their_window_already() -> None:
    seen = flat_frames(lung())
    assert through_window(seen) is seen


def test_a_slice_that_is_ill_all_over_stays_ill_beside_its_neighbours() -> None:
    """Its own lung would be taken for healthy; that of the other slices tells."""
    unit = np.full((5, 64, 64), 0.2, dtype=np.float32)
    unit[2] = 0.45
    frames = through_window(flat_frames(unit, Pixels.WINDOWED)).frames / 65535
    assert frames[2, 32, 32] > frames[1, 32, 32] + 0.2


def test_a_slice_without_enough_lung_takes_its_neighbours_window() -> None:
    unit = np.full((3, 64, 64), 0.2, dtype=np.float32)
    seen = flat_frames(unit, Pixels.WINDOWED)
    seen.inside[1] = 0
    frames = through_window(seen).frames
    assert np.array_equal(frames[1], frames[0])


def test_dense_parts_alone_are_what_a_blind_network_leaves() -> None:
    unit = lung()
    unit[0, 20:36, 8:20] = 0.7
    seen = flat_frames(unit)
    assert np.allclose(dense_parts(seen), lesion_scores(blind_network(), seen), atol=1e-6)
