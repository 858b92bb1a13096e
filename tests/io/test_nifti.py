from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from covidssl.errors import ScanError, UsageError
from covidssl.hounsfield import Pixels
from covidssl.io import read_ct, read_mask, write_volume
from covidssl.volume import Volume
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_mhd, write_nifti


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = lps_nifti(tmp_path / f"scan{suffix}", chest_hu())
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ScanError, match=r"^scan\.nii.*truncated"):
        read_ct(path)


def test_a_text_file_called_nii_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    path.write_text("no scan")
    with pytest.raises(ScanError, match=r"scan\.nii\.gz: could not be read as NIfTI"):
        read_ct(path)


def test_several_frames_are_refused_and_one_is_taken(tmp_path: Path) -> None:
    hu = chest_hu().T[..., np.newaxis]
    one = write_nifti(tmp_path / "one.nii", hu, np.diag([-2.0, -2.0, 2.0, 1.0]))
    assert read_ct(one).array.shape == (8, 64, 64)
    two = write_nifti(tmp_path / "two.nii", np.concatenate([hu, hu], -1), np.diag([2.0, 2, 2, 1]))
    with pytest.raises(ScanError, match="not several frames"):
        read_ct(two)


def test_intensity_scaling_is_applied(tmp_path: Path) -> None:
    hu = chest_hu()
    path = lps_nifti(tmp_path / "scaled.nii", ((hu.astype(np.int32) + 1024) * 2).astype(np.uint16))
    stored = bytearray(path.read_bytes())
    stored[112:120] = np.array([0.5, -1024], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(stored)
    volume = read_ct(path)
    assert np.array_equal(volume.array, hu)
    assert volume.pixels is Pixels.HU


def test_without_orientation_it_is_taken_as_upright_with_a_warning(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(chest_hu().T, None)
    image.header.set_zooms((0.7, 0.8, 2.5))
    nibabel.save(image, tmp_path / "scan.nii")
    volume = read_ct(tmp_path / "scan.nii")
    assert volume.affine is None
    assert volume.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    assert volume.warnings == ("the header gives no orientation: taken as lying upright (LPS)",)
    assert np.array_equal(volume.array, chest_hu())


def test_a_flat_affine_is_refused(tmp_path: Path) -> None:
    path = lps_nifti(tmp_path / "scan.nii", chest_hu())
    damaged = bytearray(path.read_bytes())
    damaged[312:328] = bytes(16)  # srow_z
    path.write_bytes(damaged)
    with pytest.raises(ScanError, match="affine in the header is degenerate"):
        read_ct(path)


def test_an_absurd_shape_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    path = lps_nifti(tmp_path / "scan.nii", chest_hu())
    damaged = bytearray(path.read_bytes())
    damaged[42:48] = np.array([32000, 32000, 32000], "<i2").tobytes()
    path.write_bytes(damaged)
    with pytest.raises(ScanError, match="the header claims a shape"):
        read_ct(path)


def test_eight_bits_are_taken_as_windowed_with_a_warning(tmp_path: Path) -> None:
    grey = np.stack([chest_grey()] * 4)
    volume = read_ct(lps_nifti(tmp_path / "scan.nii.gz", grey))
    assert volume.pixels is Pixels.WINDOWED
    assert volume.array.dtype == np.uint8
    assert "8-bit volume: taken as windowed grey values, not HU" in volume.warnings


def test_grey_values_in_sixteen_bits_need_the_callers_word(tmp_path: Path) -> None:
    grey = np.stack([chest_grey()] * 4)
    path = lps_nifti(tmp_path / "scan.nii.gz", grey.astype(np.int16))
    with pytest.raises(ScanError, match=r"grey values 0\.\.255 stored"):
        read_ct(path)
    volume = read_ct(path, Pixels.WINDOWED)
    assert volume.pixels is Pixels.WINDOWED
    assert np.array_equal(volume.array, grey)


def test_a_few_slices_are_warned_about(tmp_path: Path) -> None:
    assert read_ct(lps_nifti(tmp_path / "a.nii", chest_hu(1))).warnings == ("only 1 slice",)
    assert read_ct(lps_nifti(tmp_path / "b.nii", chest_hu(2))).warnings == ("only 2 slices",)


def test_a_mask_is_written_and_read_as_bool(tmp_path: Path) -> None:
    mask = chest_hu() < -500
    write_volume(
        Volume(mask, None, (2.0, 1.0, 1.0), np.diag([1.0, 1.0, 2.0, 1.0])), tmp_path / "m.nii"
    )
    again = read_mask(tmp_path / "m.nii")
    assert again.array.dtype == np.bool_
    assert again.pixels is None
    assert np.array_equal(again.array, mask)


def test_an_image_is_no_mask(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="a mask holds a few labels"):
        read_mask(lps_nifti(tmp_path / "scan.nii", chest_hu()))


def test_a_volume_is_written_as_nifti_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"written as \.nii or \.nii\.gz"):
        write_volume(Volume(chest_hu(), Pixels.HU), tmp_path / "scan.mhd")


def test_a_volume_without_a_place_is_written_without_one(tmp_path: Path) -> None:
    write_volume(Volume(chest_hu(), Pixels.HU, (2.0, 1.5, 1.25)), tmp_path / "scan.nii.gz")
    again = read_ct(tmp_path / "scan.nii.gz")
    assert again.affine is None
    assert again.spacing_mm == (2.0, 1.5, 1.25)
    assert np.array_equal(again.array, chest_hu())


def test_a_metaimage_without_its_voxels_is_refused(tmp_path: Path) -> None:
    path = write_mhd(tmp_path / "scan.mhd", chest_hu(), (1, 1, 1))
    (tmp_path / "scan.raw").unlink()
    with pytest.raises(ScanError, match=r"^scan\.mhd: could not be read as MetaImage") as refusal:
        read_ct(path)
    assert str(tmp_path) not in str(refusal.value)


def test_a_short_metaimage_is_refused(tmp_path: Path) -> None:
    path = write_mhd(tmp_path / "scan.mha", chest_hu(), (1, 1, 1))
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(ScanError, match=r"^scan\.mha: could not be read as MetaImage"):
        read_ct(path)


@pytest.mark.realdata
def test_a_whole_screening_scan_is_read(real_data: Path) -> None:
    volume = read_ct(real_data / "nlst" / "NLST-101287.nii.gz")
    assert (volume.pixels, volume.array.shape) == (Pixels.HU, (143, 276, 276))
    assert volume.array.min() == -1024
    assert volume.spacing_mm == pytest.approx((2.0, 1.0017, 1.0017), abs=1e-3)
    assert volume.warnings == ()
