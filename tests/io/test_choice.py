from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from covidssl.errors import ScanError
from covidssl.io import Choice, ScanFiles, choose_series, find_scans, read_scan
from covidssl.pseudonyms import Pseudonyms
from tests.dicom_files import write_enhanced
from tests.scan_files import change_dicom, chest_grey, chest_hu, write_dicom, write_png

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
STUDY, PATIENT = generate_uid(), "one patient"


def series(
    folder: Path,
    letter: str,
    slices: int = 24,
    apart_mm: float = 1.0,
    names: str = "{:03d}.dcm",
    **tags: object,
) -> None:
    """A small series of the same study in a folder, its files beginning with a letter."""
    told = {"SliceThickness": apart_mm, "StudyInstanceUID": STUDY, "PatientID": PATIENT, **tags}
    places = [apart_mm * index for index in range(slices)]
    orientation = told.pop("orientation", (1.0, 0, 0, 0, 1.0, 0))
    assert isinstance(orientation, tuple)
    hu = np.repeat(chest_hu(1, 32), slices, axis=0)
    write_dicom(folder, hu, places, letter + names, orientation, **told)


def chosen(folder: Path) -> Choice:
    return choose_series(find_scans([folder]).scans)


def test_a_scan_alone_in_its_folder_and_other_formats_are_kept(tmp_path: Path) -> None:
    series(tmp_path / "a", "x", 3)
    series(tmp_path / "b", "x", 30)
    write_png(tmp_path / "a" / "x.png", chest_grey())
    choice = chosen(tmp_path)
    assert [scan.name for scan in choice.scans] == ["a", "a/x.png", "b"]
    assert choice.passed_over == ()


LOSERS: dict[str, tuple[dict[str, object], str]] = {
    "modality": ({"Modality": "PT", "slices": 40}, "modality PT, not CT"),
    "scout": (
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "slices": 40},
        "a localiser (scout)",
    ),
    "coronal": (
        {"orientation": CORONAL, "slices": 40},
        "its slices lie 90 degrees off the axial plane",
    ),
    "reformat": (
        {"ImageType": ["DERIVED", "SECONDARY", "MPR"], "slices": 40},
        "a reformat (image type DERIVED or SECONDARY), the other is ORIGINAL",
    ),
    "short": ({"slices": 4, "apart_mm": 0.5}, "only 4 slices over 2 of 23 mm"),
    "few": ({"slices": 19, "apart_mm": 1.2}, "only 19 slices over 22 of 23 mm"),
    "thick": (
        {"apart_mm": 1.5, "slices": 30},
        "its slices are 1.5 mm thick or apart, not 1",
    ),
    "kernel": ({"ConvolutionKernel": "B31f", "slices": 40}, "kernel B31f is none for lungs"),
    "fewer": ({"slices": 23, "ConvolutionKernel": "B70f"}, "23 slices, not 24"),
    "alike": ({"ConvolutionKernel": "B70f"}, "alike in every rule, and later by name"),
}


@pytest.mark.parametrize("loser", LOSERS)
@pytest.mark.parametrize("pack", [False, True])
def test_each_rule_says_in_words_and_numbers_what_it_went_by(
    tmp_path: Path, loser: str, pack: bool
) -> None:
    tags, reason = LOSERS[loser]
    later = loser == "alike"
    series(tmp_path / "case", "a" if later else "z", ConvolutionKernel="B70f")
    series(tmp_path / "case", "z" if later else "a", **tags)  # type: ignore[arg-type]
    given = tmp_path / "case"
    if pack:
        given = tmp_path / "case.zip"
        with zipfile.ZipFile(given, "w") as into:
            for path in (tmp_path / "case").iterdir():
                into.write(path, path.name)
    choice = chosen(given)
    ((passed, told),) = choice.passed_over
    (taken,) = choice.scans
    assert told.startswith(f"passed over for {taken.name}: {reason}")
    first = passed.paths[0].name[0]
    assert first == ("z" if later else "a")


@pytest.mark.parametrize(
    "kernel",
    ["B50f", "B60s", "B70f", "B80f", "I70f", "Br59d", "Bl57d", "LUNG", "BONE", "BONEPLUS",
     "YA", "YB", "L", "Y-DETAIL", "FC51", "FC86"],
)  # fmt: skip
def test_kernels_for_lungs_are_known_by_maker(tmp_path: Path, kernel: str) -> None:
    series(tmp_path, "a", ConvolutionKernel="STANDARD")
    series(tmp_path, "b", ConvolutionKernel=[kernel, "3"])
    (taken,) = chosen(tmp_path).scans
    assert taken.paths[0].name.startswith("b")


@pytest.mark.parametrize("kernel", ["B31f", "Br40d", "STANDARD", "SOFT", "B", "FC08", "LA", "C"])
def test_kernels_for_soft_tissue_are_none_for_lungs(tmp_path: Path, kernel: str) -> None:
    series(tmp_path, "a", ConvolutionKernel=kernel)
    series(tmp_path, "b", ConvolutionKernel="LUNG")
    (taken,) = chosen(tmp_path).scans
    assert taken.paths[0].name.startswith("b")


def test_gaps_between_thin_slices_count_as_thickness(tmp_path: Path) -> None:
    series(tmp_path, "a", 30, 10.0, SliceThickness=1.0)
    series(tmp_path, "b", 120, 2.5)
    ((_, told),) = chosen(tmp_path).passed_over
    assert "its slices are 10 mm thick or apart, not 2.5" in told


def test_slices_whose_names_are_in_no_order_are_measured_all(tmp_path: Path) -> None:
    series(tmp_path, "a", 30, 2.0)
    jumbled = np.random.default_rng(0).permutation(30)
    for number, path in enumerate(sorted(tmp_path.glob("a*"))):
        path.rename(path.with_name(f"c{jumbled[number]:03d}.dcm"))
    series(tmp_path, "b", 60, 1.0)
    ((_, told),) = chosen(tmp_path).passed_over
    assert "its slices are 2 mm thick or apart, not 1" in told


def test_series_of_other_patients_and_studies_are_no_rivals(tmp_path: Path) -> None:
    series(tmp_path, "a")
    series(tmp_path, "b", PatientID="another")
    series(tmp_path, "c", StudyInstanceUID=generate_uid())
    choice = chosen(tmp_path)
    assert len(choice.scans) == 3
    assert choice.passed_over == ()


def test_where_no_series_keeps_a_rule_one_is_still_taken(tmp_path: Path) -> None:
    for letter in "ab":
        series(tmp_path, letter, Modality="MR")
    choice = chosen(tmp_path)
    assert (len(choice.scans), len(choice.passed_over)) == (1, 1)


def test_no_identifier_stands_in_a_reason(tmp_path: Path) -> None:
    tags: dict[str, object] = {"PatientID": "CANARY", "ConvolutionKernel": "LUNG"}
    series(tmp_path / "CANARY", "CANARYb", **tags)  # type: ignore[arg-type]
    series(tmp_path / "CANARY", "CANARYa", 40, 5.0, **tags)  # type: ignore[arg-type]
    tags["ConvolutionKernel"] = "CANARY^Smith"
    series(tmp_path / "CANARY", "CANARYc", 40, **tags)  # type: ignore[arg-type]
    choice = choose_series(find_scans([tmp_path / "CANARY"], Pseudonyms(bytes(32))).scans)
    assert len(choice.passed_over) == 2
    assert not any("CANARY" in told + scan.name for scan, told in choice.passed_over)


def test_a_series_whose_headers_are_damaged_is_left_to_be_refused_by_itself(
    tmp_path: Path,
) -> None:
    series(tmp_path, "a")
    series(tmp_path, "b", 40)
    scans: list[ScanFiles] = list(find_scans([tmp_path]).scans)
    for path in tmp_path.glob("b*"):
        path.write_bytes(path.read_bytes()[:200])
    choice = choose_series(scans)
    assert (choice.scans, choice.passed_over) == (tuple(scans), ())
    with pytest.raises(ScanError):
        read_scan(scans[1])


def test_a_multi_frame_file_is_weighed_by_its_frames(tmp_path: Path) -> None:
    series(tmp_path, "a", 24, 5.0)
    path = write_enhanced(tmp_path / "b.dcm", chest_hu(30, 32), PatientID=PATIENT)
    change_dicom(path, StudyInstanceUID=STUDY)
    choice = chosen(tmp_path)
    assert [scan.paths[0].name for scan in choice.scans] == ["b.dcm"]
    ((_, told),) = choice.passed_over
    assert "its slices are 5 mm thick or apart, not 2.5" in told


@pytest.mark.parametrize(("slices", "apart_mm", "told"), [
    (20, 1.0, "only 20 slices over 19 of 295 mm"),  # a slab
    (25, 0.0, "only 25 slices over 0 of 295 mm"),  # contrast agent watched at one place
    (140, 1.0, "only 140 slices over 139 of 295 mm"),
])  # fmt: skip
def test_a_part_of_the_chest_is_not_taken_for_being_thin(
    tmp_path: Path, slices: int, apart_mm: float, told: str
) -> None:
    series(tmp_path, "whole", 60, 5.0)
    series(tmp_path, "a", slices, apart_mm, SliceThickness=1.0)
    ((passed, reason),) = chosen(tmp_path).passed_over
    assert passed.paths[0].name.startswith("a")
    assert told in reason


def test_a_chest_is_long_enough_beside_a_scan_of_the_whole_body(tmp_path: Path) -> None:
    series(tmp_path, "body", 200, 5.0)
    series(tmp_path, "chest", 120, 2.5)
    (taken,) = chosen(tmp_path).scans
    assert taken.paths[0].name.startswith("chest")


def test_a_few_slices_from_the_scanner_do_not_beat_a_whole_derived_chest(tmp_path: Path) -> None:
    series(tmp_path, "few", 6, 60.0, SliceThickness=5.0)
    series(tmp_path, "fine", 121, 2.5, ImageType=["DERIVED", "PRIMARY", "AXIAL"])
    (taken,) = chosen(tmp_path).scans
    assert taken.paths[0].name.startswith("fine")


def test_a_scout_as_its_first_file_does_not_make_a_series_one(tmp_path: Path) -> None:
    series(tmp_path, "thick", 60, 5.0)
    series(tmp_path, "fine", 121, 2.5)
    change_dicom(
        tmp_path / "fine000.dcm", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ImageOrientationPatient=list(CORONAL), SliceThickness=500.0,
    )  # fmt: skip
    ((passed, told),) = chosen(tmp_path).passed_over
    assert passed.paths[0].name.startswith("thick")
    assert "its slices are 5 mm thick or apart, not 2.5" in told


def test_a_thin_series_with_a_hole_is_passed_over_for_a_whole_one(tmp_path: Path) -> None:
    series(tmp_path, "thick", 60, 5.0)
    series(tmp_path, "fine", 121, 2.5)
    for index in range(50, 60):
        (tmp_path / f"fine{index:03d}.dcm").unlink()
    choice = chosen(tmp_path)
    ((passed, told),) = choice.passed_over
    assert passed.paths[0].name.startswith("fine")
    assert "has gaps: once not 2.5 mm from slice to slice, but up to 27.5" in told
    assert len(read_scan(choice.scans[0]).array) == 60


def test_a_series_with_doubled_slices_is_passed_over_for_a_whole_one(tmp_path: Path) -> None:
    series(tmp_path, "thick", 60, 5.0)
    series(tmp_path, "fine", 121, 2.5)
    for index in (50, 51):
        file = pydicom.dcmread(tmp_path / f"fine{index:03d}.dcm")
        file.save_as(tmp_path / f"fine{index:03d}b.dcm")
    ((_, told),) = chosen(tmp_path).passed_over
    assert "2 of its slices lie at places that are taken already" in told


def test_a_series_with_gaps_is_still_taken_where_all_have_them(tmp_path: Path) -> None:
    for letter, apart_mm in (("a", 2.0), ("b", 1.5)):
        series(tmp_path, letter, 40, apart_mm)
        (tmp_path / f"{letter}020.dcm").unlink()
    (taken,) = chosen(tmp_path).scans
    assert taken.paths[0].name.startswith("b")


@pytest.mark.parametrize("word", ["Mueller", "B70f^SMITH", "Y-SMITH", "SMITH1960", "MUELLER"])
def test_no_kernel_or_modality_is_quoted_that_is_none(tmp_path: Path, word: str) -> None:
    series(tmp_path, "a", ConvolutionKernel="STANDARD")
    series(tmp_path, "b", ConvolutionKernel=word)
    series(tmp_path, "c", ConvolutionKernel="LUNG", slices=23)
    series(tmp_path, "d", Modality=re.sub("[^A-Z]", "", word.upper()))
    for _, told in chosen(tmp_path).passed_over:
        assert not any(name in told.upper() for name in ("MUELLER", "SMITH")), told
