from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from covidssl.errors import ScanError, UsageError
from covidssl.hounsfield import Pixels
from covidssl.io import (
    Policy,
    Reading,
    find_scans,
    read_ct,
    read_mask,
    read_scan,
    write_volume,
)
from covidssl.io.nifti import read_nifti
from covidssl.volume import Volume
from tests.scan_files import (
    change_dicom,
    chest_grey,
    chest_hu,
    lps_nifti,
    write_dicom,
    write_mhd,
    write_nifti,
)


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


def two_orientations(path: Path, degrees: float, shift_mm: float = 0.0) -> Path:
    """A scan whose qform is its sform, turned about the patient's axis and moved."""
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    sform = np.diag([-0.7, -0.8, 2.5, 1.0])
    qform = turn @ sform
    qform[0, 3] += shift_mm
    image = nibabel.Nifti1Image(chest_hu().T, sform)
    image.set_sform(sform, code=1)
    image.set_qform(qform, code=1)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(("degrees", "shift_mm", "apart_mm"), [(20, 0, 23.3), (0, 5, 5.0)])
def test_two_orientations_that_disagree_are_told_and_the_sform_is_taken(
    tmp_path: Path, degrees: float, shift_mm: float, apart_mm: float
) -> None:
    path = two_orientations(tmp_path / "scan.nii", degrees, shift_mm)
    told = (
        f"qform and sform in the header disagree by {degrees:.1f} degrees, and by {apart_mm:.1f} "
        f"mm at the farthest corner"
    )
    volume = read_ct(path)
    assert volume.warnings == (f"{told}: the sform is taken",)
    assert np.allclose(volume.affine, np.diag([0.7, 0.8, 2.5, 1.0]))
    with pytest.raises(ScanError, match=rf"^scan\.nii: {told}; expected one") as refusal:
        strictly(path)
    assert refusal.value.code == "qform_sform"


@pytest.mark.parametrize("degrees", [0.0, 90.0, 179.9, 180.0, 33.3])
def test_the_rounding_of_the_quaternion_is_no_disagreement(tmp_path: Path, degrees: float) -> None:
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ np.diag([0.7, 0.8, 2.5, 1.0])
    image = nibabel.Nifti1Image(chest_hu(64).T, affine)
    image.set_qform(affine, code=2)
    image.set_sform(affine, code=2)
    path = tmp_path / "x.nii"
    nibabel.save(image, path)
    raw = read_nifti(path, "x", Reading(policy=Policy.STRICT))
    assert raw.warnings == ()


def strictly(path: Path) -> Volume:
    (scan,) = find_scans([path]).scans
    return read_scan(scan, Reading(policy=Policy.STRICT))


def test_strictly_a_scan_without_orientation_is_refused(tmp_path: Path) -> None:
    (dicom,) = write_dicom(tmp_path / "c", chest_hu(1))
    change_dicom(dicom, ImagePositionPatient=None)
    for path in (
        write_nifti(tmp_path / "a.nii", chest_hu().T),
        write_mhd(tmp_path / "b.mha", chest_hu()[0], (0.7, 0.8)),
        dicom,
    ):
        assert read_ct(path).affine is None
        with pytest.raises(ScanError, match="gives no orientation") as refusal:
            strictly(path)
        assert refusal.value.code == "no_orientation"


def test_strictly_an_oblique_scan_is_refused(tmp_path: Path) -> None:
    turn = np.eye(4)
    angle = np.radians(15)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    path = write_nifti(tmp_path / "a.nii", chest_hu().T, turn @ np.diag([-0.7, -0.8, 2.5, 1.0]))
    assert read_ct(path).warnings != ()
    with pytest.raises(ScanError, match=r"lies 15\.0 degrees off.*at most 10\.") as refusal:
        strictly(path)
    assert refusal.value.code == "oblique"


def test_a_header_that_claims_more_than_its_file_can_hold_is_refused_first(tmp_path: Path) -> None:
    path = lps_nifti(tmp_path / "scan.nii", chest_hu())
    damaged = bytearray(path.read_bytes())
    damaged[42:48] = np.array([2000, 2000, 500], "<i2").tobytes()
    with gzip.open(tmp_path / "scan.nii.gz", "wb") as into:
        into.write(damaged)
    with pytest.raises(ScanError, match="claims 4000000352 bytes of voxels") as refusal:
        read_ct(tmp_path / "scan.nii.gz")
    assert refusal.value.code == "truncated"


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


def test_colours_are_no_mask_and_no_scan(tmp_path: Path) -> None:
    rgb = np.zeros((64, 64, 8), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    path = write_nifti(tmp_path / "m.nii", rgb, np.diag([-2.0, -2.0, 2.0, 1.0]))
    with pytest.raises(ScanError, match="a mask holds labels"):
        read_mask(path)
    with pytest.raises(ScanError, match="a CT holds one number a voxel"):
        read_ct(path)


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
    with pytest.raises(
        ScanError, match=r"^scan\.mhd: 1 of 1 files with its voxels.*not there"
    ) as refusal:
        read_ct(path)
    assert str(tmp_path) not in str(refusal.value)


def test_a_short_metaimage_is_refused(tmp_path: Path) -> None:
    path = write_mhd(tmp_path / "scan.mha", chest_hu(), (1, 1, 1))
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(
        ScanError, match=r"^scan\.mha: the file is truncated: its header claims 65536"
    ):
        read_ct(path)


@pytest.mark.parametrize("listed", ["LIST\n", "LIST\none.raw\n"])
def test_a_metaimage_that_lists_too_few_files_is_refused(listed: str, tmp_path: Path) -> None:
    chest_hu()[0].tofile(tmp_path / "one.raw")
    header = "ObjectType = Image\nNDims = 3\nDimSize = 64 64 8\nElementType = MET_SHORT\n"
    (tmp_path / "scan.mhd").write_text(f"{header}ElementDataFile = {listed}")
    with pytest.raises(ScanError, match="the file is truncated"):
        read_ct(tmp_path / "scan.mhd")


@pytest.mark.realdata
def test_a_whole_screening_scan_is_read(real_data: Path) -> None:
    volume = read_ct(real_data / "nlst" / "NLST-101287.nii.gz")
    assert (volume.pixels, volume.array.shape) == (Pixels.HU, (143, 276, 276))
    assert volume.array.min() == -1024
    assert volume.spacing_mm == pytest.approx((2.0, 1.0017, 1.0017), abs=1e-3)
    assert volume.warnings == ()
