from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.hounsfield import Pixels
from covidssl.io import Policy, Reading, find_scans, read_ct, read_scan
from covidssl.io.gate import settle
from covidssl.io.raw import RawScan
from covidssl.volume import Volume
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_png

HU = chest_hu().astype(np.float32)


def test_hu_are_clipped_to_what_ct_holds(tmp_path: Path) -> None:
    hu = chest_hu()
    hu[0, 0, :4] = (-3024, -2000, 3071, 3600)
    volume = read_ct(lps_nifti(tmp_path / "scan.nii", hu))
    assert volume.array.dtype == np.int16
    assert volume.array[0, 0, :4].tolist() == [-1024, -1024, 3071, 3071]


def test_a_constant_outside_the_field_of_view_is_fine(tmp_path: Path) -> None:
    hu = chest_hu()
    hu[:, :10] = -3024
    assert read_ct(lps_nifti(tmp_path / "scan.nii", hu)).array.min() == -1024


def with_nan() -> NDArray[np.generic]:
    hu = HU.copy()
    hu[0, 0, 0] = np.nan
    return hu


OFFSET = (HU + 1024).clip(0, 4095).astype(np.int16)
NORMALISED = ((HU + 1024).clip(0, 1800) / 1800).astype(np.float32)
GREY = np.rint(NORMALISED * 255).astype(np.int16)


@pytest.mark.parametrize(
    ("values", "told", "code"),
    [
        (with_nan(), "of the voxels are NaN or infinite", "not_finite"),
        (HU * 20, "Scaled wrongly", "hu_scaled"),
        (np.where(HU > -500, 30000, HU), "are above 4000 HU", "hu_scaled"),
        (HU * 4 + 900, "are below -1200 HU", "hu_scaled"),
        (NORMALISED, r"normalised to 0\.\.1", "hu_normalised"),
        (NORMALISED * 2 - 1, r"normalised to -1\.\.1", "hu_normalised"),
        (GREY, r"grey values 0\.\.255 stored", "hu_windowed"),
        (OFFSET, "offset of 1024 \\(air peaks at .* and tissue at 10", "hu_offset"),
        (OFFSET * 3, "no peaks of air and tissue lie where an offset", "no_air"),
        ((HU > -500).astype(np.int16), "holds only the values 0, 1: a mask", "is_mask"),
        (np.full(HU.shape, -1000, np.int16), "holds only the value -1000", "is_mask"),
        (np.where(HU < -500, -150, HU).astype(np.int16), r"only 0\.00% of the voxels", "no_air"),
        (HU.astype(np.complex64), "of type complex64", "not_numbers"),
    ],
)  # fmt: skip
def test_values_that_are_no_hu_are_refused(
    tmp_path: Path, values: NDArray[np.generic], told: str, code: str
) -> None:
    with pytest.raises(ScanError, match=rf"^scan\.nii\.gz: .*{told}") as refusal:
        read_ct(lps_nifti(tmp_path / "scan.nii.gz", values))
    assert refusal.value.code == code


def test_hu_are_not_read_as_grey_values(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"said to be windowed grey values, which are 0\.\.255"):
        read_ct(lps_nifti(tmp_path / "scan.nii", chest_hu()), Pixels.WINDOWED)


def test_a_picture_is_never_hu(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="a picture of 8 bits holds windowed grey values"):
        read_ct(write_png(tmp_path / "x.png", chest_grey()), Pixels.HU)


def mended(path: Path, pixels: Pixels | None = None) -> Volume:
    (scan,) = find_scans([path]).scans
    return read_scan(scan, Reading(pixels, Policy.REPAIR))


@pytest.mark.parametrize("type_", [np.int16, np.uint16, np.int32, np.float32])
def test_an_offset_is_taken_off_where_the_peaks_prove_it(tmp_path: Path, type_: type) -> None:
    volume = mended(lps_nifti(tmp_path / "scan.nii", OFFSET.astype(type_)))
    assert np.array_equal(volume.array, HU.astype(np.int16))
    (said,) = volume.repairs
    peaks = re.fullmatch(
        r"offset of 1024 HU subtracted: air peaks at (\d+) and tissue at (\d+), with it off at "
        r"(-\d+) and (-?\d+) HU",
        said,
    )
    assert peaks is not None
    stored_air, stored_tissue, air, tissue = (int(number) for number in peaks.groups())
    assert (air, tissue) == (stored_air - 1024, stored_tissue - 1024)
    assert (air, tissue) == (pytest.approx(-1000, abs=15), pytest.approx(40, abs=15))


def test_nothing_is_taken_off_where_the_peaks_do_not_prove_it(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="no peaks of air and tissue lie where an offset"):
        mended(lps_nifti(tmp_path / "scan.nii", OFFSET * 3))


@pytest.mark.parametrize("padding", [-2000, -1024, -1000])
@pytest.mark.parametrize("policy", list(Policy))
def test_padding_hides_no_lost_intercept(tmp_path: Path, padding: int, policy: Policy) -> None:
    stored = OFFSET.copy()
    stored[:, :6] = padding
    path = lps_nifti(tmp_path / "scan.nii", stored)
    if policy is Policy.REPAIR:
        volume = mended(path)
        assert (volume.array[:, :6] == -1024).all()
        assert np.array_equal(volume.array[:, 6:], HU[:, 6:])
        assert "offset of 1024 HU subtracted" in volume.repairs[0]
        return
    (scan,) = find_scans([path]).scans
    with pytest.raises(ScanError, match=f"and {padding} outside the field of view") as refusal:
        read_scan(scan, Reading(policy=policy))
    assert refusal.value.code == "hu_offset"


@pytest.mark.parametrize("offset", [900, 1000, 1100, 1150])
@pytest.mark.parametrize("noise", [0, 30])
def test_another_offset_is_not_taken_for_1024(tmp_path: Path, offset: int, noise: int) -> None:
    hu = HU + np.random.default_rng(0).normal(0, max(noise, 1e-9), HU.shape)
    stored = np.maximum(np.rint(hu) + offset, 0).astype(np.int16)
    with pytest.raises(ScanError, match="no peaks of air and tissue lie where an offset"):
        mended(lps_nifti(tmp_path / "scan.nii", stored))


@pytest.mark.parametrize("cut", [-1000, -990])
def test_air_that_was_cut_off_proves_no_offset(tmp_path: Path, cut: int) -> None:
    stored = (np.maximum(HU, cut) + 1024).astype(np.int16)
    with pytest.raises(ScanError, match="no peaks of air and tissue lie where an offset"):
        mended(lps_nifti(tmp_path / "scan.nii", stored))


@pytest.mark.parametrize("type_", [np.uint8, np.int16, np.float32])
def test_a_map_of_labels_is_no_ct(tmp_path: Path, type_: type) -> None:
    lobes = np.asarray(np.digitize(HU, [-900, -820, 20, 40, 60]) * 3, type_)
    with pytest.raises(ScanError, match="only the values 0, 3, 6, 9, 12, 15: a mask") as refusal:
        read_ct(lps_nifti(tmp_path / "scan.nii", lobes))
    assert refusal.value.code == "is_mask"


def test_a_picture_may_have_few_greys(tmp_path: Path) -> None:
    greys = (np.digitize(chest_grey(), [20, 185, 190]) * 80).astype(np.uint8)
    assert np.array_equal(read_ct(write_png(tmp_path / "x.png", greys)).array[0], greys)


def test_normalised_values_become_windowed_ones(tmp_path: Path) -> None:
    volume = mended(lps_nifti(tmp_path / "scan.nii", NORMALISED))
    assert volume.pixels is Pixels.WINDOWED
    assert np.array_equal(volume.array, GREY)
    assert "no HU, taken as windowed" in volume.repairs[0]
    assert volume.repairs[1].startswith("normalised to 0..1 (found 0..")


def test_grey_values_in_sixteen_bits_become_windowed_ones(tmp_path: Path) -> None:
    volume = mended(lps_nifti(tmp_path / "scan.nii", GREY))
    assert volume.pixels is Pixels.WINDOWED
    assert np.array_equal(volume.array, GREY)
    assert volume.repairs == (f"values 0..{GREY.max()}, none below 0: no HU, taken as windowed",)


def test_the_callers_word_is_not_mended_away(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="grey values 0"):
        mended(lps_nifti(tmp_path / "scan.nii", GREY), Pixels.HU)


def test_fractions_said_to_be_windowed_are_refused_or_mended(tmp_path: Path) -> None:
    path = lps_nifti(tmp_path / "scan.nii", NORMALISED)
    with pytest.raises(ScanError, match=r"normalised to 0\.\.1") as refusal:
        read_ct(path, Pixels.WINDOWED)
    assert refusal.value.code == "hu_normalised"
    assert np.array_equal(mended(path, Pixels.WINDOWED).array, GREY)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_a_few_voxels_without_a_value_are_filled_with_air(tmp_path: Path, hole: float) -> None:
    hu = HU.copy()
    hu[2, 10:20, 10:15] = hole
    volume = mended(lps_nifti(tmp_path / "scan.nii", hu))
    assert (volume.array[2, 10:20, 10:15] < -1000).all()
    assert volume.repairs == ("50 voxels (0.15%) were NaN or infinite: filled with air",)


def test_many_voxels_without_a_value_are_refused(tmp_path: Path) -> None:
    hu = HU.copy()
    hu[:, :2] = np.nan
    with pytest.raises(ScanError, match=r"^scan\.nii: 3\.12% of the voxels are NaN") as refusal:
        mended(lps_nifti(tmp_path / "scan.nii", hu))
    assert refusal.value.code == "not_finite"


def test_a_sound_scan_is_not_mended(tmp_path: Path) -> None:
    volume = mended(lps_nifti(tmp_path / "scan.nii", chest_hu()))
    assert volume.repairs == ()
    assert np.array_equal(volume.array, chest_hu())


def test_pictures_of_little_contrast_are_warned_about_with_numbers(tmp_path: Path) -> None:
    pale = (100 + chest_grey() / 4).astype(np.uint8)
    (warning,) = read_ct(write_png(tmp_path / "x.png", pale)).warnings
    assert re.match(r"low contrast: 98 of 100 pixels lie in 10\d\.\.1\d\d of 0\.\.255", warning)
    assert read_ct(write_png(tmp_path / "y.png", chest_grey())).warnings == ()


@pytest.mark.parametrize("type_", [">i2", "<i2", "<i4", "<f4", ">f8", "<u2"])
def test_the_type_in_the_file_does_not_matter(type_: str) -> None:
    hu = chest_hu() if type_ != "<u2" else OFFSET
    reading = Reading(policy=Policy.REPAIR)
    raw = RawScan(hu.astype(type_), False, None, None)
    settled, kind = settle(raw, reading, "scan")
    assert (kind, settled.array.dtype) == (Pixels.HU, np.dtype(np.int16))
    assert np.array_equal(settled.array, chest_hu())


def test_a_sound_array_is_not_copied() -> None:
    hu = chest_hu()
    settled, _ = settle(RawScan(hu, False, None, None), Reading(), "scan")
    assert settled.array is hu


def test_values_out_of_range_are_clipped_without_a_copy() -> None:
    hu = chest_hu()
    hu[:, :3] = -2000
    settled, _ = settle(RawScan(hu, False, None, None), Reading(), "scan")
    assert settled.array is hu
    assert hu.min() == -1024


@pytest.mark.realdata
def test_no_real_picture_is_said_to_have_little_contrast(real_data: Path) -> None:
    sets = ("sars-cov-2-ct", "covid-ct", "luna16-slices")
    scans = [scan for name in sets for scan in find_scans([real_data / name]).scans[::20]]
    warnings = [warning for scan in scans for warning in read_scan(scan).warnings]
    assert len(scans) > 200
    assert not [warning for warning in warnings if "low contrast" in warning]
