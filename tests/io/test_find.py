from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from covidssl.errors import DataError, UsageError
from covidssl.io import find_scans
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_dicom, write_mhd, write_png


def names(found_in: list[Path]) -> list[str]:
    return [scan.name for scan in find_scans(found_in).scans]


def test_every_format_is_found_in_nested_folders(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a" / "series", chest_hu(3))
    lps_nifti(tmp_path / "b" / "scan.nii.gz", chest_hu(3))
    write_mhd(tmp_path / "c.mhd", chest_hu(3), (1, 1, 1))
    write_png(tmp_path / "d" / "e" / "slice.PNG", chest_grey())
    found = find_scans([tmp_path])
    assert [(scan.name, scan.format) for scan in found.scans] == [
        ("a/series", "dicom"),
        ("b/scan.nii.gz", "nifti"),
        ("c.mhd", "metaimage"),
        ("d/e/slice.PNG", "picture"),
    ]
    assert len(found.scans[0].paths) == 3
    assert found.ignored == {}


def test_scans_come_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write_png(tmp_path / f"slice{number}.png", chest_grey())
    assert names([tmp_path]) == ["slice1.png", "slice2.png", "slice10.png"]


def test_a_series_at_the_top_is_called_like_the_input(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", chest_hu(3))
    assert names([tmp_path / "case"]) == ["case"]


def test_dicom_without_a_suffix_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", chest_hu(3), names="IM{:04d}")
    (scan,) = find_scans([tmp_path]).scans
    assert (scan.name, scan.format, len(scan.paths)) == ("case", "dicom", 3)


def test_two_series_in_one_folder_are_two_scans(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", chest_hu(3), names="b{}.dcm")
    write_dicom(tmp_path / "case", chest_hu(4), names="a{}.dcm")
    scans = find_scans([tmp_path]).scans
    assert [(scan.name, len(scan.paths)) for scan in scans] == [("case#1", 4), ("case#2", 3)]


def test_slices_given_one_by_one_are_one_series(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", chest_hu(3))
    (scan,) = find_scans(paths).scans
    assert (scan.name, len(scan.paths)) == ("case", 3)
    assert names(paths[:1]) == ["slice000.dcm"]


def test_several_inputs_begin_with_their_own_name(tmp_path: Path) -> None:
    write_png(tmp_path / "a" / "x.png", chest_grey())
    write_png(tmp_path / "b" / "x.png", chest_grey())
    assert names([tmp_path / "a", tmp_path / "b"]) == ["a/x.png", "b/x.png"]


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    write_png(tmp_path / "1" / "a" / "x.png", chest_grey())
    write_png(tmp_path / "2" / "a" / "x.png", chest_grey())
    assert names([tmp_path / "1" / "a", tmp_path / "2" / "a"]) == ["a/x.png", "a/x.png (2)"]


def test_a_scan_given_twice_is_found_once(tmp_path: Path) -> None:
    path = write_png(tmp_path / "x.png", chest_grey())
    assert names([path, path]) == ["x.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_a_name_that_is_no_text_can_still_be_written_down(tmp_path: Path) -> None:
    path = write_png(tmp_path / "x.png", chest_grey())
    path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    assert names([tmp_path]) == ["\\udcff.png"]


def test_hidden_files_and_junk_are_passed_over_and_others_counted(tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", chest_grey())
    for junk in (".DS_Store", "._x.png", "Thumbs.db", "__MACOSX/y.png", ".git/z.png", "DICOMDIR"):
        (tmp_path / junk).parent.mkdir(exist_ok=True)
        (tmp_path / junk).write_bytes(b"junk")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "table.csv").write_text("a,b")
    (tmp_path / "more.CSV").write_text("a,b")
    found = find_scans([tmp_path])
    assert [scan.name for scan in found.scans] == ["x.png"]
    assert found.ignored == {".csv": 2, ".txt": 1}


def test_voxels_of_a_metaimage_are_part_of_it(tmp_path: Path) -> None:
    write_mhd(tmp_path / "c.mhd", chest_hu(3), (1, 1, 1))
    assert (tmp_path / "c.raw").exists()
    assert find_scans([tmp_path]).ignored == {}


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    secret = write_png(tmp_path / "elsewhere" / "secret.png", chest_grey())
    write_png(tmp_path / "given" / "x.png", chest_grey())
    (tmp_path / "given" / "link.png").symlink_to(secret)
    (tmp_path / "given" / "folder").symlink_to(secret.parent)
    found = find_scans([tmp_path / "given"])
    assert [scan.name for scan in found.scans] == ["x.png"]
    assert found.ignored == {"(link out of the folder)": 2}


def test_a_text_file_called_dcm_gets_a_row(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", chest_hu(3))
    (tmp_path / "case" / "readme.dcm").write_text("The slices of this case.\n" * 20)
    good, bad = find_scans([tmp_path]).scans
    assert (good.name, len(good.paths)) == ("case", 3)
    assert (bad.name, bad.format) == ("case/readme.dcm", "unreadable")
    assert bad.problem == "is called .dcm but holds no DICOM image."


def test_an_empty_file_gets_a_row(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    (scan,) = find_scans([tmp_path]).scans
    assert scan.format == "unreadable"
    assert scan.problem == "the file is empty (0 bytes)."


def test_a_folder_with_no_ct_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(DataError, match=r"no CT found; expected DICOM.*other files: 1 \.txt"):
        find_scans([tmp_path])


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no files at all"):
        find_scans([tmp_path])


def test_an_input_that_does_not_exist_is_a_mistake_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file or folder"):
        find_scans([tmp_path / "nowhere"])


@pytest.mark.realdata
def test_thousands_of_pictures_are_found_at_once(real_data: Path) -> None:
    start = time.perf_counter()
    found = find_scans([real_data / "sars-cov-2-ct"])
    assert len(found.scans) == 2481
    assert time.perf_counter() - start < 2
