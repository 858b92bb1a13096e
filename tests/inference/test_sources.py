"""What INPUTs may be: any mix of folders, files, zips and CSV lists."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from covidssl.errors import DataError, ScanError, UsageError
from covidssl.inference.sources import find_inputs, seek
from covidssl.io import read_scan
from covidssl.pseudonyms import Pseudonyms
from tests.inference.folders import write_pictures
from tests.scan_files import chest_hu, lps_nifti, write_dicom


def write_list(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(*inputs: Path) -> list[str]:
    return [scan.name for scan in find_inputs(inputs).scans]


def test_a_list_names_files_folders_and_zips_relative_to_itself(tmp_path: Path) -> None:
    write_dicom(tmp_path / "clinic" / "series", chest_hu(3))
    write_pictures(tmp_path / "clinic", 2)
    with zipfile.ZipFile(tmp_path / "clinic" / "x.zip", "w") as into:
        into.write(tmp_path / "clinic" / "00.png", "inner.png")
    given = write_list(
        tmp_path / "clinic" / "list.csv",
        "path,age,name\nseries,7,\n00.png,8,the first\nx.zip,9,packed\n",
    )
    assert names(given) == ["packed", "series", "the first"]
    for scan in find_inputs([given]).scans:
        assert read_scan(scan).array.size


def test_a_list_lies_beside_folders_and_files_and_no_scan_is_taken_twice(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "a", 3)
    lps_nifti(tmp_path / "b.nii", chest_hu(3))
    given = write_list(tmp_path / "list.csv", "path\na/01.png\nb.nii\nb.nii\n")
    assert names(folder, given) == ["00.png", "01.png", "02.png", "b.nii"]


def test_a_row_without_a_scan_stops_no_other(tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    (tmp_path / "notes.txt").write_text("no CT")
    given = write_list(tmp_path / "list.csv", "path\nnone.png\n00.png\nnotes.txt\nnone.png\n")
    found = {scan.name: scan for scan in find_inputs([given]).scans}
    assert found["00.png"].problem is None
    with pytest.raises(ScanError, match=r"none\.png: line 2 of the list: there is no such file"):
        read_scan(found["none.png"])
    with pytest.raises(ScanError, match=r"notes\.txt: line 4 of the list: holds no CT"):
        read_scan(found["notes.txt"])


def test_names_of_rows_hold_no_place_of_the_machine(tmp_path: Path) -> None:
    for place in ("far/a", "far/b"):
        write_pictures(tmp_path / place, 1)
    given = write_list(
        tmp_path / "lists" / "list.csv", f"path\n{tmp_path}/far/a/00.png\n../far/b/00.png\n"
    )
    assert names(given) == ["a/00.png", "b/00.png"]


def test_hidden_names_are_hidden_in_lists_too(tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    given = write_list(tmp_path / "list.csv", "path,name\n00.png,Jane\nnone.png,John\n")
    found = find_inputs([given], Pseudonyms(bytes(32)))
    assert all(scan.hidden and len(scan.name) == 16 for scan in found.scans)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file\na.png\n", "expected a list with the columns path"),
        ("", "found no row"),
        ("path,name\n ,x\n", "line 2: the column `path` is empty"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        find_inputs([write_list(tmp_path / "list.csv", text)])


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file or folder"):
        find_inputs([tmp_path / "list.csv"])


def test_of_series_that_share_a_folder_one_is_sought(tmp_path: Path) -> None:
    same = {"PatientID": "one", "StudyInstanceUID": "1.2.3"}
    write_dicom(tmp_path / "both", chest_hu(6), names="a{:03d}.dcm", **same)
    write_dicom(tmp_path / "both", chest_hu(3), names="b{:03d}.dcm", **same)
    sought = seek([tmp_path])
    assert [scan.name for scan in sought.scans] == ["both#1"]
    assert "passed over for both#1" in sought.passed_over["both#2"]
    assert len(seek([tmp_path], all_series=True).scans) == 2


def test_a_name_in_a_list_can_do_nothing_to_its_reader(tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    given = write_list(tmp_path / "list.csv", 'path,name\n00.png,"\x1b[2J\u202egnp"\n')
    assert names(given) == [r"\x1b[2J\u202egnp"]
