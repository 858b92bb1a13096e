"""What INPUTs may be: any mix of folders, files, zips and CSV lists."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from covidssl.errors import DataError, ScanError, UsageError
from covidssl.experiments import PredictConfig
from covidssl.inference.sources import find_inputs, seek
from covidssl.io import read_scan
from covidssl.pseudonyms import Pseudonyms
from tests.inference.folders import ANSWERED, ask, rows_of, write_pictures
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
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        find_inputs([write_list(tmp_path / "list.csv", text)])


def test_whatever_a_cell_holds_the_other_rows_are_found(tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "ring").symlink_to("ring")
    cells = [" ", "a" * 300 + ".png", "00.png\0x", "00.png/x.png", "ring", "pipe", "/dev/null"]
    given = write_list(tmp_path / "list.csv", "path,name\n00.png,good\n")
    with given.open("a") as into:
        into.writelines(f"{cell},odd {number}\n" for number, cell in enumerate(cells))
    found = {scan.name: scan for scan in seek([given]).scans}
    assert found.pop("good").problem is None
    assert [found[f"odd {k}"].code for k in range(len(cells))] == ["not_found"] * len(cells)
    assert len(seek([given]).stamps()) == len(cells) + 1
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        find_inputs([tmp_path / "pipe"])


def test_what_runs_have_written_is_no_input(model: Path, tmp_path: Path) -> None:
    clinic = write_pictures(tmp_path / "clinic", 2)
    write_pictures(clinic / "mine", 1)
    (clinic / "mine" / "record.json").write_text('{"patients": 2}')
    for out in (clinic / "answers", clinic / "answers", clinic / "later"):
        ask(model, clinic, out, "resume", config=PredictConfig())
        assert list(rows_of(out)) == ["00.png", "01.png", "mine/00.png"]
    with pytest.raises(UsageError, match="where the answers go"):
        find_inputs([clinic, clinic / "answers" / "pictures"], out=clinic / "answers")


def test_a_folder_that_cannot_be_listed_is_a_scan_that_failed(model: Path, tmp_path: Path) -> None:
    """A path of more than 4096 bytes: the system refuses it to whoever asks."""
    write_pictures(tmp_path / "in", 1)
    before = Path.cwd()
    os.chdir(tmp_path / "in")
    try:
        for number in range(20):
            (folder := Path(f"{number:02d}" * 120)).mkdir()
            os.chdir(folder)
    finally:
        os.chdir(before)
    assert ask(model, tmp_path / "in", tmp_path / "out") == 1
    rows = rows_of(tmp_path / "out")
    assert rows.pop("00.png")["outcome"] in ANSWERED
    (closed,) = rows.values()
    assert (closed["outcome"], closed["reason_codes"]) == ("failed", "closed")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_closed_folder_is_a_scan_that_failed(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in" / "closed", 1)
    (tmp_path / "in" / "closed").chmod(0)
    (scan,) = find_inputs([tmp_path / "in"]).scans
    (tmp_path / "in" / "closed").chmod(0o700)
    assert (scan.name, scan.code) == ("closed", "closed")


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
