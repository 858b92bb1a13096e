"""Stored values to HU: transfer syntaxes, bits, rescaling, padding, and what is only display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, generate_frames

from covidssl.errors import ScanError
from covidssl.hounsfield import Pixels
from covidssl.io import Policy, Reading, find_scans, read_ct, read_scan
from covidssl.pseudonyms import Pseudonyms
from tests.dicom_files import COMPRESSED, UNCOMPRESSED, recode, write_enhanced
from tests.scan_files import change_dicom, chest_hu, write_dicom

HU = np.clip(chest_hu(), -1024, 2000)
SYNTAXES = [*UNCOMPRESSED, *COMPRESSED]


def store(paths: Sequence[Path], stored: NDArray[Any], **tags: object) -> None:
    """Put stored values into a series, bit for bit, and the tags that describe them."""
    for path, plane in zip(paths, stored, strict=True):
        kind = "<i2" if stored.dtype.kind == "i" else "<u2"
        change_dicom(
            path, PixelRepresentation=int(stored.dtype.kind == "i"),
            PixelData=plane.astype(kind).tobytes(), **tags,
        )  # fmt: skip


def pydicom_hu(path: Path) -> NDArray[np.float64]:
    file: Any = pydicom.dcmread(path)
    return np.asarray(file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept))


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(("signed", "bits", "offset"), [
    (True, 16, 1024), (False, 16, 1024), (False, 12, 1024), (True, 13, 0), (True, 12, 0),
])  # fmt: skip
def test_every_transfer_syntax_gives_the_same_hu(
    tmp_path: Path, syntax: str, signed: bool, bits: int, offset: int
) -> None:
    paths = write_dicom(tmp_path / "case", HU)
    stored = (HU + offset).astype(np.int16 if signed else np.uint16)
    store(paths, stored, BitsStored=bits, HighBit=bits - 1, RescaleIntercept=-offset)
    for path in paths:
        recode(path, syntax)
    assert np.array_equal(read_ct(tmp_path / "case").array, HU)


@pytest.mark.parametrize("syntax", ["JPEG-LS", "JPEG 2000", "RLE"])
def test_decoded_pixels_are_those_of_pydicoms_own_decoders(tmp_path: Path, syntax: str) -> None:
    paths = write_dicom(tmp_path / "case", HU, RescaleSlope=0.5, RescaleIntercept=-512)
    for path in paths:
        recode(path, syntax)
    expected = np.rint([pydicom_hu(path) for path in paths])
    assert np.array_equal(read_ct(tmp_path / "case").array, expected)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_decoded_pixels_are_those_of_simpleitk(tmp_path: Path, syntax: str) -> None:
    paths = write_dicom(tmp_path / "case", HU)
    for path in paths:
        recode(path, syntax)
    image = sitk.ReadImage([str(path) for path in paths])
    assert np.array_equal(read_ct(tmp_path / "case").array, sitk.GetArrayFromImage(image))


def test_slopes_and_intercepts_are_each_slices_own(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", HU)
    slopes = [1, 2, 0.5, 1.37, 1, 0.25, 3, 1]
    intercepts = [-1024, -1024, -1000.5, -1024.25, 0, -1024, -512, -1023.6]
    for path, slope, intercept, hu in zip(paths, slopes, intercepts, HU, strict=True):
        stored = np.rint((hu - intercept) / slope).astype("<i2")
        change_dicom(
            path, RescaleSlope=slope, RescaleIntercept=intercept, PixelData=stored.tobytes()
        )
    expected = np.clip(np.rint([pydicom_hu(path) for path in paths]), -1024, 3071)
    read = read_ct(tmp_path / "case").array
    assert np.array_equal(read, expected)
    assert np.abs(read - HU.astype(np.float64)).max() <= 2


def test_overlays_in_the_bits_above_the_pixels_are_taken_off(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", HU)
    overlay = (np.indices(HU.shape).sum(axis=0) % 3 == 0).astype(np.uint16) << 14
    store(paths, (HU + 1024).astype(np.uint16) | overlay, BitsStored=12, HighBit=11)
    assert np.array_equal(read_ct(tmp_path / "case").array, HU)


def test_negative_values_of_12_bits_keep_their_sign(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", HU)
    bare = (HU & 0x0FFF).astype(np.uint16).view(np.int16)
    store(paths, bare, BitsStored=12, HighBit=11, RescaleIntercept=0)
    assert np.array_equal(read_ct(tmp_path / "case").array, HU)


def test_pixels_in_the_upper_bits_are_brought_down(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", HU)
    store(paths, (HU + 1024).astype(np.uint16) << 4, BitsStored=12, HighBit=15)
    assert np.array_equal(read_ct(tmp_path / "case").array, HU)


@pytest.mark.parametrize("syntax", [None, "implicit", "JPEG-LS"])
@pytest.mark.parametrize(("value", "limit", "filled"), [
    (-2000, None, [-2000]),
    (63536, None, [-2000]),  # the same bits, written as an unsigned number
    (9024, None, [9024]),
    (5000, 5400, [5000, 5222, 5400]),
    (5400, 5000, [5000, 5222, 5400]),
])  # fmt: skip
def test_padding_outside_the_field_of_view_is_air(
    tmp_path: Path, value: int, limit: int | None, filled: list[int], syntax: str | None
) -> None:
    stored = (HU + 1024).astype(np.int16)
    for row, number in enumerate(filled):
        stored[:, row] = number
    paths = write_dicom(tmp_path / "case", HU)
    store(paths, stored)
    for path in paths:
        file: Any = pydicom.dcmread(path)
        file.add_new("PixelPaddingValue", "SS" if -32768 <= value < 32768 else "US", value)
        if limit is not None:
            file.add_new("PixelPaddingRangeLimit", "US", limit)
        file.save_as(path)
        if syntax:
            recode(path, syntax)
    array = read_ct(tmp_path / "case").array
    assert (array[:, : len(filled)] == -1024).all()
    assert np.array_equal(array[:, len(filled) :], HU[:, len(filled) :])


def test_a_padding_value_that_tissue_has_too_is_a_mistake_and_left_alone(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", HU, PixelPaddingValue=1064)  # 40 HU
    assert np.array_equal(read_ct(tmp_path / "case").array, HU)


def test_values_that_16_bits_cannot_hold_do_not_wrap_around(tmp_path: Path) -> None:
    stored = (HU + 1024).astype(np.uint16)
    stored[:, :2, :2] = 65535
    store(write_dicom(tmp_path / "case", HU), stored)
    array = read_ct(tmp_path / "case").array
    assert (array[:, :2, :2] == 3071).all()
    assert np.array_equal(array[:, 2:], HU[:, 2:])


def test_monochrome1_is_a_matter_of_display_and_leaves_hu_alone(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", HU, PhotometricInterpretation="MONOCHROME1")
    volume = read_ct(tmp_path / "case")
    assert np.array_equal(volume.array, HU)
    assert volume.warnings == (
        "8 of 8 slices are meant for inverted display (MONOCHROME1); their HU are what the "
        "rescaling gives",
    )


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_values_for_inverted_display_are_turned_round(tmp_path: Path, bits: int) -> None:
    grey = np.rint(np.clip((HU + 1000.0) / 1400, 0, 1) * 255).astype(np.uint8)
    for path, plane in zip(write_dicom(tmp_path / "case", HU), 255 - grey, strict=True):
        kind = "<u1" if bits == 8 else "<u2"
        change_dicom(
            path, PhotometricInterpretation="MONOCHROME1", RescaleIntercept=0, BitsAllocated=bits,
            BitsStored=8, HighBit=7, PixelRepresentation=0, PixelData=plane.astype(kind).tobytes(),
        )  # fmt: skip
    volume = read_ct(tmp_path / "case", Pixels.WINDOWED)
    assert np.array_equal(volume.array, grey)
    assert volume.warnings == (
        "8 of 8 slices are meant for inverted display (MONOCHROME1); their grey values were turned "
        "round",
    )


def test_text_burned_into_the_pixels_is_warned_about(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", HU, BurnedInAnnotation="NO")
    assert read_ct(tmp_path / "case").warnings == ()
    change_dicom(paths[2], BurnedInAnnotation="YES")
    (told,) = read_ct(tmp_path / "case").warnings
    assert told == (
        "the header of 1 of 8 slices says that text is burned into the pixels; it may name the "
        "patient"
    )


def test_compression_with_loss_is_warned_about(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", HU, LossyImageCompression="01")
    assert read_ct(tmp_path / "case").warnings == ("8 of 8 slices were compressed with loss",)


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_half_of_a_compressed_slice_is_refused_by_the_name_of_its_file(
    tmp_path: Path, syntax: str
) -> None:
    paths = write_dicom(tmp_path / "case", HU)
    for path in paths:
        recode(path, syntax)
    file: Any = pydicom.dcmread(paths[3])
    whole = next(generate_frames(file.PixelData, number_of_frames=1))
    file.PixelData = encapsulate([whole[: len(whole) // 2]])
    file["PixelData"].VR = "OB"
    file.save_as(paths[3])
    with pytest.raises(ScanError, match=r"^case \(slice003\.dcm\): could not be read"):
        read_ct(tmp_path / "case")


def test_fewer_pixels_than_the_header_claims_are_not_filled_up_with_what_follows(
    tmp_path: Path,
) -> None:
    paths = write_dicom(tmp_path / "case", HU)
    file: Any = pydicom.dcmread(paths[2])
    file.PixelData = file.PixelData[:-2000]
    file.add_new("DataSetTrailingPadding", "OB", b"\x55" * 4000)
    file.save_as(paths[2])
    told = r"^case \(slice002\.dcm\): the header claims 8192 bytes of pixels, but they are 6192"
    with pytest.raises(ScanError, match=told) as refusal:
        read_ct(tmp_path / "case")
    assert refusal.value.code == "damaged_header"


def test_files_without_preamble_and_file_header_are_read(tmp_path: Path) -> None:
    for path in write_dicom(tmp_path / "case", HU):
        recode(path, "implicit")
        data = path.read_bytes()
        # The group of the file's own header ends where group 8 begins.
        path.write_bytes(data[data.index(b"\x08\x00\x08\x00") :])
    assert np.array_equal(read_ct(tmp_path / "case").array, HU)


@pytest.mark.parametrize("damage", ["cut", "compressed", "bits"])
def test_hidden_scans_are_told_by_the_number_of_the_slice(tmp_path: Path, damage: str) -> None:
    paths = write_dicom(tmp_path / "CANARY", HU, names="CANARY{}.dcm")
    if damage == "bits":
        change_dicom(paths[3], BitsAllocated=12)
    else:
        if damage == "compressed":
            recode(paths[3], "JPEG-LS")
        paths[3].write_bytes(paths[3].read_bytes()[:-1500])
    (scan,) = find_scans([tmp_path], Pseudonyms(b"k" * 32)).scans
    assert scan.hidden
    for policy in (Policy.SKIP, Policy.REPAIR):
        reading = Reading(policy=policy)
        try:
            told = [*read_scan(scan, reading).repairs]
        except ScanError as refusal:
            told = [str(refusal)]
        assert told
        assert "CANARY" not in "".join(told)
        if policy is Policy.SKIP and damage != "cut":
            assert "(slice 4)" in told[0]


def test_patient_and_series_are_pseudonyms_and_only_on_request(tmp_path: Path) -> None:
    canaries = {"PatientID": "CANARY-1", "SeriesInstanceUID": "1.2.3.99"}
    for name, tags in (
        ("a", canaries),
        ("b", {**canaries, "SeriesInstanceUID": "1.2.3.98"}),
        ("c", {**canaries, "IssuerOfPatientID": "OTHER"}),
        ("d", {"PatientID": None}),
    ):
        write_dicom(tmp_path / name, HU[:4], **tags)
    scans = find_scans([tmp_path]).scans
    ids = Pseudonyms(b"k" * 32)
    a, b, c, d = (read_scan(scan, Reading(ids=ids)) for scan in scans)
    assert a.patient == b.patient == ids.of("patient", "CANARY-1") != c.patient
    assert len(a.patient) == 16
    assert (d.patient, bool(d.series)) == ("", True)
    assert a.series == ids.of("series", "1.2.3.99") != b.series
    bare = read_scan(scans[0])
    assert (bare.patient, bare.series) == ("", "")
    kept = read_scan(scans[0], Reading(ids=replace(ids, keep_ids=True)))
    assert (kept.patient, kept.series) == ("CANARY-1", "1.2.3.99")


@pytest.mark.parametrize("syntax", [None, *COMPRESSED])
def test_frames_are_rescaled_each_by_its_own_values(tmp_path: Path, syntax: str | None) -> None:
    rescale = [(1 + index / 10, -1024.0 + index) for index in range(8)]
    path = write_enhanced(tmp_path / "all.dcm", HU, [*range(7, -1, -1)], rescale=rescale)
    if syntax is not None:
        recode(path, syntax)
    volume = read_ct(path)
    expected = [
        np.rint(np.rint((hu - intercept) / slope) * slope + intercept)
        for hu, (slope, intercept) in zip(HU.astype(np.float64), rescale, strict=True)
    ]
    assert np.array_equal(volume.array, np.clip(expected, -1024, 3071))
