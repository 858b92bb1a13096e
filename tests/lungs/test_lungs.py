from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.hounsfield import Pixels
from covidssl.io import find_scans, read_scan
from covidssl.lungs import lung_mask, segment_lungs
from covidssl.volume import Volume
from tests.scan_files import chest_grey, chest_hu

EDGE = 160


def truth(slices: int = 8) -> NDArray[np.bool_]:
    """The two lungs of `chest_hu`, from its ellipses: lung is below -500 HU inside the body."""
    y, x = np.mgrid[-1 : 1 : EDGE * 1j, -1 : 1 : EDGE * 1j]
    body = x**2 / 0.85**2 + y**2 / 0.65**2 < 1
    return (chest_hu(slices, EDGE) < -500) & body


def chest(array: NDArray[np.generic] | None = None) -> Volume:
    return Volume(chest_hu(8, EDGE) if array is None else array, Pixels.HU, (2.5, 1, 1), None, "c")


def picture(grey: NDArray[np.uint8]) -> Volume:
    return Volume(grey[np.newaxis], Pixels.WINDOWED, source="x.png")


def overlap(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Dice: 1 where both agree everywhere."""
    return float(2 * np.sum(one & other) / (np.sum(one) + np.sum(other)))


def test_lungs_of_a_phantom_are_found() -> None:
    lungs = segment_lungs(chest())
    assert lungs.problem is None
    assert lungs.mask.array.dtype == np.bool_
    assert lungs.mask.pixels is None
    assert overlap(lungs.mask.array, truth()) > 0.97
    assert lungs.slice_share.dtype == np.float32
    assert np.allclose(lungs.slice_share, lungs.mask.array.mean(axis=(1, 2)))


def test_a_windowed_picture_has_the_same_lungs() -> None:
    mask = lung_mask(picture(chest_grey(EDGE))).array
    assert overlap(mask[0], truth(3)[1]) > 0.97


def test_the_scan_is_not_written_into() -> None:
    ct = chest()
    before = ct.array.copy()
    segment_lungs(ct)
    assert np.array_equal(ct.array, before)


def test_vessels_and_dense_lesions_inside_belong_to_the_lung() -> None:
    hu = chest_hu(8, EDGE)
    hu[:, 70:90, 40:55] = 40
    assert lung_mask(chest(hu)).array[:, 72:88, 42:53].all()


def test_a_notch_at_the_pleura_is_closed() -> None:
    hu = chest_hu(8, EDGE)
    left = int(np.flatnonzero(truth()[4, 80])[0])
    hu[:, 78:82, left : left + 5] = 40
    assert lung_mask(chest(hu)).array[4, 78:82, left + 2 : left + 5].all()


def test_air_around_the_patient_is_not_lung() -> None:
    mask = lung_mask(chest()).array
    assert not mask[:, :10].any()
    assert not mask[:, :, :5].any()


def test_the_windpipe_is_not_lung() -> None:
    hu = chest_hu(8, EDGE)
    hu[:, 60:70, 75:85] = -1000
    assert not lung_mask(chest(hu)).array[:, 61:69, 76:84].any()


def test_lungs_cut_off_by_the_edge_of_the_picture_are_found() -> None:
    grey = chest_grey(EDGE)[:, 24:-26]
    mask = lung_mask(picture(np.ascontiguousarray(grey))).array[0]
    assert mask[80, 0]
    assert overlap(mask, truth(3)[1][:, 24:-26]) > 0.93


def test_white_outside_changes_nothing() -> None:
    grey = chest_grey(EDGE)
    y, x = np.mgrid[-1 : 1 : EDGE * 1j, -1 : 1 : EDGE * 1j]
    grey[x**2 / 0.88**2 + y**2 / 0.68**2 > 1] = 255
    assert overlap(lung_mask(picture(grey)).array[0], truth(3)[1]) > 0.97


def test_a_white_frame_changes_nothing() -> None:
    grey = chest_grey(EDGE)
    grey[:6], grey[-6:], grey[:, :6], grey[:, -6:] = 255, 255, 255, 255
    assert overlap(lung_mask(picture(grey)).array[0], truth(3)[1]) > 0.97


@pytest.mark.parametrize(("low", "high"), [(0, 120), (60, 200), (100, 255)])
def test_an_unknown_window_is_coped_with(low: int, high: int) -> None:
    grey = np.rint(low + chest_grey(EDGE) / 255.0 * (high - low)).astype(np.uint8)
    assert overlap(lung_mask(picture(grey)).array[0], truth(3)[1]) > 0.95


def test_a_body_without_lungs_is_a_problem() -> None:
    hu = chest_hu(8, EDGE)
    hu[truth()] = 40
    lungs = segment_lungs(chest(hu))
    assert not lungs.mask.array.any()
    assert lungs.problem is not None
    assert lungs.problem.startswith("no lung found")


def test_hardly_any_lung_is_a_problem_with_its_number() -> None:
    hu = np.full((4, EDGE, EDGE), -1000, np.int16)
    hu[:, 20:140, 20:140] = 40
    hu[:, 70:86, 70:86] = -850
    problem = segment_lungs(chest(hu)).problem
    assert problem is not None
    assert problem.startswith("hardly any lung: 1.0% of the best slice")


def test_too_much_lung_is_a_problem_with_its_number() -> None:
    hu = np.full((2, EDGE, EDGE), -850, np.int16)
    hu[:, :3], hu[:, -3:], hu[:, :, :3], hu[:, :, -3:] = 40, 40, 40, 40
    problem = segment_lungs(chest(hu)).problem
    assert problem is not None
    assert problem.startswith("the lungs would fill 9")


def test_the_one_liner_refuses_a_problem_and_names_the_scan() -> None:
    with pytest.raises(ScanError, match=r"^x\.png: no lung found"):
        lung_mask(picture(np.full((EDGE, EDGE), 180, np.uint8)))


def test_a_picture_of_one_grey_has_no_lungs() -> None:
    for level in (0, 128, 255):
        assert not segment_lungs(picture(np.full((64, 48), level, np.uint8))).mask.array.any()


@pytest.mark.realdata
@pytest.mark.parametrize(("folder", "least"), [("COVID", 0.97), ("non-COVID", 0.97)])
def test_nearly_every_slice_of_the_papers_set_has_lungs(
    real_data: Path, folder: str, least: float
) -> None:
    scans = find_scans([real_data / "sars-cov-2-ct" / folder]).scans[::12]
    shares = [float(segment_lungs(read_scan(scan)).slice_share[0]) for scan in scans]
    assert np.mean([0.06 < share < 0.8 for share in shares]) >= least
