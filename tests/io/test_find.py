from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from covidssl.errors import DataError, ScanError, UsageError
from covidssl.io import ScanFiles, find, find_scans, read_scan
from covidssl.io.voxel_files import voxel_files
from covidssl.pseudonyms import Pseudonyms
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


def test_with_pseudonyms_no_part_of_a_path_is_in_a_name(tmp_path: Path) -> None:
    write_dicom(tmp_path / "SMITH", chest_hu(3), names="b{}.dcm")
    write_dicom(tmp_path / "SMITH", chest_hu(4), names="a{}.dcm")
    write_png(tmp_path / "JONES.png", chest_grey())
    ids = Pseudonyms(bytes(32))
    open_ones = find_scans([tmp_path]).scans
    hidden = find_scans([tmp_path], ids).scans
    assert [scan.name for scan in hidden] == [ids.of("path", scan.name) for scan in open_ones]
    assert {scan.folder for scan in hidden} == {None, ids.of("path", "SMITH")}
    assert all(scan.hidden for scan in hidden)
    # Names could be guessed from a stamp that they go into.
    stamps = [scan.stamp() for scan in hidden]
    assert not set(stamps) & {scan.stamp() for scan in open_ones}
    (tmp_path / "JONES.png").rename(tmp_path / "JAMES.png")
    assert {scan.stamp() for scan in find_scans([tmp_path], ids).scans} == set(stamps)


def test_with_pseudonyms_a_folder_without_ct_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "SMITH").mkdir()
    with pytest.raises(DataError, match="^INPUT: no CT found"):
        find_scans([tmp_path / "SMITH"], Pseudonyms(bytes(32)))


def test_series_that_share_a_folder_know_it(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", chest_hu(3), names="b{}.dcm")
    write_dicom(tmp_path / "alone", chest_hu(3), names="b{}.dcm")
    write_dicom(tmp_path / "case", chest_hu(4), names="a{}.dcm")
    scans = find_scans([tmp_path]).scans
    assert [(scan.name, scan.folder) for scan in scans] == [
        ("alone", None),
        ("case#1", "case"),
        ("case#2", "case"),
    ]


def test_the_stamp_follows_the_voxels_beside_a_header(tmp_path: Path) -> None:
    write_mhd(tmp_path / "c.mhd", chest_hu(3), (1, 1, 1))
    before = find_scans([tmp_path]).scans[0].stamp()
    (tmp_path / "c.raw").write_bytes(bytes(10))
    assert find_scans([tmp_path]).scans[0].stamp() != before


def test_a_raw_file_that_no_header_names_is_counted(tmp_path: Path) -> None:
    write_mhd(tmp_path / "c.mhd", chest_hu(3), (1, 1, 1))
    (tmp_path / "other.raw").write_bytes(bytes(10))
    assert find_scans([tmp_path]).ignored == {".raw": 1}


@pytest.mark.parametrize("name", ["/etc/hostname", "../c.raw", "..\\c.raw", "C:\\c.raw"])
@pytest.mark.parametrize("format", ["mhd", "nhdr"])
def test_a_header_that_points_out_of_its_folder_is_refused(
    tmp_path: Path, name: str, format: str
) -> None:
    path = write_mhd(tmp_path / f"c.{format}", chest_hu(3), (1, 1, 1))
    lines = path.read_text().splitlines()
    key = "ElementDataFile = " if format == "mhd" else "data file: "
    path.write_text("".join(f"{key}{name}\n" if key in line else f"{line}\n" for line in lines))
    (scan,) = find_scans([tmp_path]).scans
    assert (scan.format, scan.code) == ("unreadable", "outside_folder")
    by_itself = ScanFiles("c", "metaimage", (path,))
    with pytest.raises(ScanError, match="^c: the header takes its voxels from outside") as refusal:
        read_scan(by_itself)
    assert refusal.value.code == "outside_folder"


def test_voxels_that_are_a_link_out_of_the_input_are_refused(tmp_path: Path) -> None:
    write_mhd(tmp_path / "given" / "c.mhd", chest_hu(3), (1, 1, 1))
    (tmp_path / "given" / "c.raw").rename(tmp_path / "c.raw")
    (tmp_path / "given" / "c.raw").symlink_to(tmp_path / "c.raw")
    (scan,) = find_scans([tmp_path / "given"]).scans
    assert (scan.format, scan.code) == ("unreadable", "outside_folder")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("LIST\na.raw\nb.raw", ("a.raw", "b.raw")),
        ("slice%02d.raw 8 12 2", ("slice08.raw", "slice10.raw", "slice12.raw")),
        ("sub/a.raw", ("sub/a.raw",)),
        ("LOCAL", ()),
    ],
)
def test_headers_may_name_several_files(value: str, names: tuple[str, ...]) -> None:
    assert voxel_files(f"NDims = 3\nElementDataFile = {value}\n", ".mhd") == names


def test_what_lies_in_many_series_and_files_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for case in range(4):
        write_dicom(tmp_path / f"{case}", chest_hu(5, 32))
    opened = []
    real = find.open_member
    monkeypatch.setattr(find, "open_member", lambda a, p: (opened.append(p), real(a, p))[1])
    find_scans([tmp_path])
    assert len(opened) == len(set(opened)) == 20
