"""Whole scans: what disease hides, what only looks like lung, and which side is which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from covidssl.hounsfield import Pixels
from covidssl.io import find_scans, read_ct, read_mask, read_scan
from covidssl.lungs import LEFT, RIGHT, segment_lungs
from covidssl.phantom import phantom_chest
from covidssl.volume import Volume
from tests.lungs.chests import (
    chest,
    consolidated_back,
    dice,
    right_half,
    truth,
    windowed,
    with_hu,
)


@pytest.mark.parametrize("seed", [0, 3, 5])
@pytest.mark.parametrize("grey", [False, True], ids=["HU", "windowed"])
def test_the_lungs_of_a_phantom_are_found_and_usable(seed: int, grey: bool) -> None:
    scan = chest(seed)
    lungs = segment_lungs(windowed(scan.ct) if grey else scan.ct)
    assert dice(lungs.mask.array, truth(scan)) > 0.93
    assert lungs.usable
    assert lungs.complaint is None


@pytest.mark.parametrize(("grey", "least"), [(False, 0.75), (True, 0.6)], ids=["HU", "windowed"])
def test_consolidation_at_the_back_is_kept(grey: bool, least: float) -> None:
    scan = chest()
    dense = consolidated_back(scan)
    ct = with_hu(scan, dense, 35)
    found = segment_lungs(windowed(ct) if grey else ct).mask.array
    assert dense.sum() > 0.03 * truth(scan).sum()
    assert (found & dense).sum() > least * dense.sum()
    assert dice(found, truth(scan)) > 0.95


def test_gas_below_the_diaphragm_is_not_lung() -> None:
    scan = chest()
    z, y, x = np.indices(scan.ct.array.shape)
    depth, rows, columns = scan.ct.array.shape
    bowel = ((z - 4) / 5) ** 2 + ((y - rows * 0.36) / 14) ** 2 + ((x - columns * 0.5) / 16) ** 2 < 1
    bowel &= ~ndimage.binary_dilation(truth(scan), iterations=2)
    assert bowel.sum() > 500
    found = segment_lungs(with_hu(scan, bowel, -1005)).mask.array
    assert (found & bowel).sum() < 0.02 * bowel.sum()


def test_a_large_lung_lesion_in_the_middle_is_kept_and_the_liver_under_it_is_not() -> None:
    scan = chest()
    lung = truth(scan) & right_half(scan)
    inner = ndimage.binary_erosion(lung, iterations=5)
    z, y, x = (int(np.median(where)) for where in np.nonzero(inner))
    places = np.indices(lung.shape) - np.array([z, y, x])[:, None, None, None]
    mass = (places**2 * np.array([5.0, 2.4, 2.4])[:, None, None, None] ** 2).sum(0) < 14**2
    found = segment_lungs(with_hu(scan, mass & lung, 40)).mask.array
    assert (found & mass & lung).sum() > 0.97 * (mass & lung).sum()
    assert (found & ~truth(scan)).sum() < 0.12 * truth(scan).sum()


def test_the_windpipe_is_not_lung() -> None:
    scan = chest()
    hu = np.asarray(scan.ct.array)
    outside = ~ndimage.binary_dilation(truth(scan), iterations=2)
    middle = np.zeros_like(outside)
    middle[36:, 50:100, 60:84] = True
    windpipe = (hu < -950) & outside & middle
    assert windpipe.sum() > 50
    assert not (segment_lungs(scan.ct).mask.array & windpipe).any()


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_lungs_as_dark_as_gas_are_lungs(seed: int) -> None:
    scan = phantom_chest(seed, lesions=False, shape=(12, 64, 64), spacing_mm=(20.0, 5.0, 5.0))
    hu = np.asarray(scan.ct.array, np.float32)
    lung = ndimage.binary_erosion(truth(scan), np.ones((1, 3, 3)))
    dark = np.where(lung, np.minimum(hu, -970), hu).astype(np.int16)
    lungs = segment_lungs(replace(scan.ct, array=dark))
    assert lungs.usable, lungs.complaint
    assert dice(lungs.mask.array, truth(scan)) > 0.9


def test_air_between_the_back_and_the_table_is_not_lung() -> None:
    scan = chest()
    hu = np.asarray(scan.ct.array).copy()
    hu[:, -5:, 20:124] = -1000
    hu[:, -3:-1, 10:134] = 200
    hu[:, -9:-1, [10, 11, 132, 133]] = 200
    found = segment_lungs(replace(scan.ct, array=hu)).mask.array
    assert not found[:, -6:].any()


def test_sides_are_the_patients() -> None:
    scan = chest()
    sides = segment_lungs(scan.ct).sides
    assert sides is not None
    half = right_half(scan)
    assert np.mean(half[sides == RIGHT]) > 0.97
    assert np.mean(~half[sides == LEFT]) > 0.97


def test_lungs_that_touch_in_front_are_two() -> None:
    scan = chest()
    hu = np.asarray(scan.ct.array).copy()
    lung = truth(scan)
    row = int(np.quantile(np.nonzero(lung)[1], 0.3))
    hu[24:28, row : row + 3, 40:104] = -840
    lungs = segment_lungs(replace(scan.ct, array=hu))
    ratio = lungs.left_right
    assert ratio is not None
    assert 0.5 < ratio < 1.5
    assert lungs.usable


def test_a_missing_lung_is_flagged_and_the_other_one_shown() -> None:
    scan = chest()
    lung = truth(scan) & right_half(scan)
    lungs = segment_lungs(with_hu(scan, ndimage.binary_dilation(lung, iterations=1), 35))
    assert [flag.code for flag in lungs.flags] == ["one_side"]
    assert not lungs.usable
    assert lungs.problem is None
    assert lungs.complaint == lungs.flags[0].text
    assert lungs.mask.array.any()


def test_a_slab_is_usable_and_its_volume_no_complaint() -> None:
    ct = chest().ct
    slab = replace(ct, array=np.asarray(ct.array)[20:32])
    lungs = segment_lungs(slab)
    assert lungs.usable
    assert lungs.litres is not None


def test_litres_are_those_of_the_mask_and_unknown_for_windowed_volumes_of_1_mm() -> None:
    scan = chest()
    lungs = segment_lungs(scan.ct)
    assert lungs.litres == pytest.approx(lungs.mask.array.sum() * 5 * 2.4 * 2.4 / 1e6)
    assert segment_lungs(windowed(scan.ct)).litres is None


def test_few_slices_and_odd_sizes_are_no_error() -> None:
    ct = chest().ct
    for part in (np.s_[24:26], np.s_[24:27, 3:, 5:], np.s_[10:30, :101, :97]):
        array = np.ascontiguousarray(np.asarray(ct.array)[part])
        assert segment_lungs(replace(ct, array=array)).mask.array.shape == array.shape


@pytest.mark.parametrize("level", [-1000, 40])
def test_a_scan_of_one_value_has_no_lungs(level: int) -> None:
    ct = Volume(np.full((5, 40, 50), level, np.int16), Pixels.HU, (5.0, 2.0, 2.0))
    assert segment_lungs(ct).problem is not None
    grey = Volume(np.full((5, 40, 50), 90, np.uint8), Pixels.WINDOWED)
    assert segment_lungs(grey).problem is not None


@pytest.mark.realdata
def test_lungs_agree_with_those_drawn_by_hand(real_data: Path) -> None:
    agree, kept = [], []
    for case in (1, 2, 3, 4, 6, 7):
        stem = real_data / "medseg-9" / f"case{case}"
        lungs = segment_lungs(read_ct(f"{stem}_image.nii.gz"))
        drawn = read_mask(f"{stem}_lung.nii.gz").array
        lesion = np.asarray(read_mask(f"{stem}_infection.nii.gz").array)
        agree.append(dice(lungs.mask.array, drawn))
        kept.append(float((lungs.mask.array & lesion).sum() / lesion.sum()))
        assert lungs.usable, lungs.complaint
    assert min(agree) > 0.955
    assert np.mean(kept) >= 0.95


@pytest.mark.realdata
def test_the_windpipe_of_a_whole_scan_is_not_lung(real_data: Path) -> None:
    ct = read_ct(real_data / "nlst" / "NLST-101287.nii.gz")
    above_carina = slice(112, None)
    hu = ndimage.uniform_filter(np.asarray(ct.array[above_carina], np.float32), (1, 3, 3))
    windpipe = np.zeros(hu.shape, dtype=np.bool_)
    for plane, out in zip(hu, windpipe, strict=True):
        labels, count = ndimage.label(plane < -950)
        middle = labels[110:170, 125:155]
        area = np.bincount(middle.reshape(-1), minlength=count + 1)
        area[0] = 0
        out[110:170, 125:155] = middle == np.argmax(area)
    assert windpipe.sum() > 3000
    assert not (segment_lungs(ct).mask.array[above_carina] & windpipe).any()


@pytest.mark.realdata
def test_a_whole_scan_has_litres_of_lung_and_no_complaint(real_data: Path) -> None:
    lungs = segment_lungs(read_ct(real_data / "nlst" / "NLST-101287.nii.gz"))
    assert lungs.usable
    assert lungs.litres is not None
    assert 3.5 < lungs.litres < 5.5


@pytest.mark.realdata
def test_slabs_are_not_flagged(real_data: Path) -> None:
    for scan in find_scans([real_data / "lidc-slabs"]).scans:
        assert segment_lungs(read_scan(scan)).usable


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ["sars-cov-2-ct", "luna16-slices"])
def test_flags_on_single_pictures_are_rare(real_data: Path, folder: str) -> None:
    scans = find_scans([real_data / folder]).scans[::17]
    found = [segment_lungs(read_scan(scan)) for scan in scans]
    with_lung = [lungs for lungs in found if lungs.slice_share[0] > 0.06]
    assert np.mean([bool(lungs.flags) for lungs in with_lung]) <= 0.02
