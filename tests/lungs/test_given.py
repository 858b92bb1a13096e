"""Lung masks that the user has already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covidssl.errors import ScanError, UsageError
from covidssl.hounsfield import Pixels
from covidssl.io import read_ct, write_volume
from covidssl.lungs import given_lungs
from covidssl.volume import Volume
from tests.lungs.chests import chest, truth
from tests.scan_files import chest_grey, lps_nifti, write_nifti, write_png


@pytest.fixture(scope="module")
def ct() -> Volume:
    return replace(chest().ct, source="a/scan.nii.gz")


def write_mask(ct: Volume, path: Path, array: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = truth(chest()) if array is None else array
    write_volume(ct.mask(mask) if mask.shape == ct.array.shape else Volume(mask, None), path)


def test_a_mask_of_the_same_name_is_taken_as_it_is(ct: Volume, tmp_path: Path) -> None:
    write_mask(ct, tmp_path / "a" / "scan.nii.gz")
    lungs = given_lungs(ct, tmp_path)
    assert np.array_equal(lungs.mask.array, truth(chest()))
    assert lungs.usable
    assert lungs.left_right is not None


def test_a_dicom_series_has_a_mask_called_as_its_folder(ct: Volume, tmp_path: Path) -> None:
    write_mask(ct, tmp_path / "a" / "series.1.2.nii.gz")
    assert given_lungs(replace(ct, source="a/series.1.2"), tmp_path).usable


def test_the_name_may_be_another_one_than_is_shown(ct: Volume, tmp_path: Path) -> None:
    write_mask(ct, tmp_path / "secret.nii.gz")
    hidden = replace(ct, source="scan-1f3a")
    assert given_lungs(hidden, tmp_path, name="secret.nii.gz").usable
    with pytest.raises(ScanError, match="scan-1f3a") as refusal:
        given_lungs(replace(hidden, array=np.asarray(ct.array)[1:]), tmp_path, "secret.nii.gz")
    assert "secret" not in str(refusal.value)


def test_a_mask_that_lies_otherwise_in_its_file_is_turned_upright(
    ct: Volume, tmp_path: Path
) -> None:
    scan, mask = np.asarray(ct.array)[:, :60, :50], truth(chest())[:, :60, :50]
    source = read_ct(lps_nifti(tmp_path / "scan.nii.gz", scan))
    # The same voxels, with columns and rows counted from the other end.
    affine_ras = np.diag([2.0, 2.0, 2.0, 1.0])
    affine_ras[:3, 3] = [-2.0 * 49, -2.0 * 59, 0.0]
    turned = mask.T[::-1, ::-1].astype(np.uint8)
    write_nifti(tmp_path / "masks" / "scan.nii.gz", turned, affine_ras)
    lungs = given_lungs(source, tmp_path / "masks", "scan.nii.gz")
    assert np.array_equal(lungs.mask.array, mask)


def test_a_picture_has_a_picture_for_a_mask(tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", chest_grey(64))
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 10:26], mask[20:40, 38:54] = 255, 255
    write_png(tmp_path / "masks" / "x.png", mask)
    lungs = given_lungs(read_ct(tmp_path / "x.png"), tmp_path / "masks")
    assert np.array_equal(lungs.mask.array[0], mask > 0)


def test_a_missing_mask_is_refused_with_the_name_expected(ct: Volume, tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"expected a/scan\.nii\.gz") as refusal:
        given_lungs(ct, tmp_path)
    assert refusal.value.code == "no_mask"


def test_an_empty_mask_is_refused(ct: Volume, tmp_path: Path) -> None:
    write_mask(ct, tmp_path / "a" / "scan.nii.gz", np.zeros(ct.array.shape, dtype=np.bool_))
    with pytest.raises(ScanError, match="is empty") as refusal:
        given_lungs(ct, tmp_path)
    assert refusal.value.code == "no_mask"


def test_a_mask_of_another_shape_is_refused_with_both(ct: Volume, tmp_path: Path) -> None:
    write_mask(ct, tmp_path / "a" / "scan.nii.gz")
    with pytest.raises(ScanError, match=r"48 x 144 x 144, the scan 47 x 144 x 144") as refusal:
        given_lungs(replace(ct, array=np.asarray(ct.array)[1:]), tmp_path)
    assert refusal.value.code == "mask_geometry"


def test_a_mask_that_lies_elsewhere_is_refused_with_mm(ct: Volume, tmp_path: Path) -> None:
    write_mask(ct, tmp_path / "a" / "scan.nii.gz")
    assert ct.affine is not None
    moved = ct.affine.copy()
    moved[0, 3] += 4.0
    with pytest.raises(ScanError, match=r"4\.0 mm from the scan, expected 1\.2 mm") as refusal:
        given_lungs(replace(ct, affine=moved), tmp_path)
    assert refusal.value.code == "mask_geometry"


def test_a_folder_that_is_not_there_is_a_mistake_of_use(ct: Volume, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        given_lungs(ct, tmp_path / "nowhere")


def test_a_mask_that_looks_wrong_is_flagged(ct: Volume, tmp_path: Path) -> None:
    one = truth(chest()).copy()
    one[:, :, :72] = False
    write_mask(ct, tmp_path / "a" / "scan.nii.gz", one)
    lungs = given_lungs(ct, tmp_path)
    assert "one_side" in [flag.code for flag in lungs.flags]


def test_windowed_scans_take_masks_too(ct: Volume, tmp_path: Path) -> None:
    write_mask(ct, tmp_path / "a" / "scan.nii.gz")
    grey = replace(ct, array=np.zeros(ct.array.shape, np.uint8), pixels=Pixels.WINDOWED)
    assert given_lungs(grey, tmp_path).usable
