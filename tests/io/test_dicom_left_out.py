"""What cannot be slices of one volume: refused by its code, or left out where few are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest

from covidssl.hounsfield import Pixels
from covidssl.io import Policy, Reading, find_scans, read_scan
from tests.io.series_cases import LONG, read, refused
from tests.scan_files import change_dicom, write_dicom


def test_what_was_left_out_is_said_of_a_single_slice_too(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG[:2])
    change_dicom(paths[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    volume = read(tmp_path / "case")
    assert volume.repairs == ("left out 1 of 2 images that are localisers",)
    assert volume.warnings == ("only 1 slice",)
    assert np.array_equal(volume.array, LONG[1:2])


def localiser(path: Path) -> None:
    change_dicom(path, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])


def coronal(path: Path) -> None:
    change_dicom(path, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-900])


def narrower(path: Path) -> None:
    change_dicom(path, PixelSpacing=[0.4, 0.4])


@pytest.mark.parametrize(("spoil", "code"), [
    (localiser, "localiser"), (coronal, "mixed_orientations"), (truncated, "truncated"),
    (narrower, "mixed_spacings"),
])  # fmt: skip
def test_more_than_one_image_in_ten_is_never_left_out(
    tmp_path: Path, spoil: Callable[[Path], None], code: str
) -> None:
    paths = write_dicom(tmp_path / "case", LONG)
    for path in paths[:4]:
        spoil(path)
    assert np.array_equal(read(tmp_path / "case").array, LONG[4:])
    spoil(paths[4])
    assert refused(tmp_path / "case")[0] == code


def test_images_left_out_for_several_reasons_count_together(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG)
    for path in paths[:3]:
        truncated(path)
    for path in paths[38:]:
        coronal(path)
    assert refused(tmp_path / "case")[0] == "mixed_orientations"


def test_two_localisers_may_always_be_left_out_beside_a_tenth_of_the_slices(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG[:22])
    for path in paths[:2]:
        localiser(path)
    for path in paths[2:4]:
        truncated(path)
    volume = read(tmp_path / "case")
    assert np.array_equal(volume.array, LONG[4:22])
    assert volume.repairs == (
        "left out 2 of 22 images that are localisers",
        "left out 2 of 20 slices whose files are truncated or damaged",
    )


def test_no_modality_is_quoted_that_is_none(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", LONG[:4], Modality="MUELLER")
    code, told = refused(tmp_path / "case")
    assert code == "not_ct"
    assert told == "case: modality of another kind; expected CT."


def test_a_single_slice_of_unknown_thickness_is_warned_about(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", LONG[:1], SliceThickness=None)
    assert read(tmp_path / "case", Policy.SKIP).warnings == (
        "the header gives no slice thickness: taken as 1 mm",
        "only 1 slice",
    )


def test_doubled_slices_with_equal_pixels_count_once(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG)
    for index in (5, 6, 39):
        pydicom.dcmread(paths[index]).save_as(tmp_path / "case" / f"again{index}.dcm")
    volume = read(tmp_path / "case")
    assert np.array_equal(volume.array, LONG)
    assert volume.repairs == ("left out 3 slices that were there twice, the first at z = 12.5 mm",)


def test_doubled_slices_with_other_pixels_are_refused(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG)
    file = pydicom.dcmread(paths[5])
    file.PixelData = LONG[6].astype("<i2").tobytes()
    file.save_as(tmp_path / "case" / "again.dcm")
    assert refused(tmp_path / "case")[0] == "duplicate_slices"


@pytest.mark.parametrize(("tag", "name"), [
    ("AcquisitionNumber", "acquisition number"),
    ("TemporalPositionIdentifier", "temporal position"),
])  # fmt: skip
def test_two_acquisitions_in_one_series_are_told_apart(tmp_path: Path, tag: str, name: str) -> None:
    for number, path in enumerate(write_dicom(tmp_path / "case", LONG[:12], z_mm=[
        2.5 * (index % 6) for index in range(12)
    ])):  # fmt: skip
        change_dicom(path, **{tag: 1 + number // 6})
    code, told = refused(tmp_path / "case")
    assert code == "duplicate_slices"
    assert f"They fall apart by {name} into 2 stacks (6 + 6 slices)" in told


def test_of_mixed_orientations_only_an_axial_majority_is_kept(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG)
    for path in paths[:5]:
        change_dicom(path, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    assert refused(tmp_path / "case")[0] == "mixed_orientations"
    change_dicom(paths[4], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    volume = read(tmp_path / "case")
    assert volume.repairs == ("left out 4 of 40 slices in another orientation",)
    assert np.array_equal(volume.array, LONG[4:])


def test_a_size_that_one_in_five_slices_has_is_not_left_out(tmp_path: Path) -> None:
    for path in write_dicom(tmp_path / "case", LONG)[::5]:
        change_dicom(path, Rows=36, PixelData=bytes(36 * 40 * 2))
    assert refused(tmp_path / "case")[0] == "mixed_sizes"


@pytest.mark.parametrize(("tags", "code"), [
    ({"Modality": "MR"}, "not_ct"),
    ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "colour"),
    ({"ImageType": ["LOCALIZER"]}, "localiser"),
    ({"ImagePositionPatient": None}, "no_position"),
    ({"PixelSpacing": None}, "no_spacing"),
    ({"PixelSpacing": [0.0, 0.7]}, "damaged_header"),
    ({"RescaleSlope": 0}, "damaged_header"),
    ({"NumberOfFrames": 2}, "no_position"),
    ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "damaged_header"),
])  # fmt: skip
def test_what_cannot_be_mended_is_refused_under_repair_too(
    tmp_path: Path, tags: dict[str, object], code: str
) -> None:
    write_dicom(tmp_path / "case", LONG[:6], **tags)
    assert refused(tmp_path / "case")[0] == code


def test_an_8_bit_secondary_capture_is_refused_unless_said_to_be_grey(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG[:6], RescaleIntercept=0)
    grey = np.rint(np.clip((LONG[:6] + 1000.0) / 1400, 0, 1) * 255).astype(np.uint8)
    for path, plane in zip(paths, grey, strict=True):
        change_dicom(
            path, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0,
            PixelData=plane.tobytes(),
        )  # fmt: skip
    code, told = refused(tmp_path / "case")
    assert code == "eight_bit"
    assert "8 bits a pixel: a secondary capture" in told
    (scan,) = find_scans([tmp_path / "case"]).scans
    assert np.array_equal(read_scan(scan, Reading(pixels=Pixels.WINDOWED)).array, grey)


def acquisitions(folder: Path, places: Sequence[Sequence[float]]) -> None:
    """One series in which each acquisition has slices at some places."""
    every = [place for of in places for place in of]
    numbers = [number for number, of in enumerate(places, start=1) for _ in of]
    paths = write_dicom(folder, np.resize(LONG, (len(every), *LONG.shape[1:])), z_mm=every)
    for path, number in zip(paths, numbers, strict=True):
        change_dicom(path, AcquisitionNumber=number)


@pytest.mark.parametrize("policy", list(Policy))
def test_two_acquisitions_half_a_slice_apart_are_not_made_one(
    tmp_path: Path, policy: Policy
) -> None:
    whole = [5.0 * index for index in range(12)]
    acquisitions(tmp_path / "case", [whole, [place + 2.5 for place in whole]])
    code, told = refused(tmp_path / "case", policy)
    assert code == "several_acquisitions"
    assert "2 acquisitions (by their numbers) lie in each other, two of them over 52 mm" in told


@pytest.mark.parametrize("places", [
    [[2.5 * index] for index in range(12)],
    [[2.5 * index for index in range(6)], [2.5 * index for index in range(6, 12)]],
    [[5.0 * index, 5.0 * index + 2.5] for index in range(6)],
    [[0, 2.5, 5, 10], [7.5, 12.5, 15, 17.5]],
])  # fmt: skip
def test_acquisitions_step_by_step_or_one_after_the_other_are_one_volume(
    tmp_path: Path, places: list[list[float]]
) -> None:
    acquisitions(tmp_path / "case", places)
    assert read(tmp_path / "case", Policy.STRICT).repairs == ()


def test_two_patients_without_a_series_number_are_two_scans(tmp_path: Path) -> None:
    for patient, first in (("a", 0.0), ("b", 25.0)):
        paths = write_dicom(
            tmp_path / "case", LONG[:10], [first + 2.5 * index for index in range(10)],
            patient + "{}.dcm", PatientID=patient, StudyInstanceUID="1.2.3",
        )  # fmt: skip
        for path in paths:
            file = pydicom.dcmread(path)
            del file.SeriesInstanceUID
            file.save_as(path)
    scans = find_scans([tmp_path / "case"]).scans
    assert [len(scan.paths) for scan in scans] == [10, 10]
    assert all(np.array_equal(read_scan(scan).array, LONG[:10]) for scan in scans)
