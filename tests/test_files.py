"""Files are written whole or not at all, and say what they say."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from covidssl.files import (
    read_csv,
    replacing,
    sha256_of,
    write_bytes,
    write_csv,
    write_json,
    write_text,
)

# No file may grow beyond 4096 bytes in there: a disk that is full at that point.
ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from covidssl.errors import CovidsslError
from covidssl.files import write_bytes, write_csv, write_json
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
path = Path(sys.argv[1])
try:
    {write}
except CovidsslError as error:
    print(error)
"""
WRITES = {
    "bytes": "write_bytes(path, b'x' * 10_000)",
    "json": "write_json(path, list(range(10_000)))",
    "csv": "write_csv(path, ['n'], [{'n': n} for n in range(10_000)])",
}


def on_a_full_disk(write: str, path: Path) -> str:
    """What a program says that writes `path` on a full disk."""
    program = ON_A_FULL_DISK.format(write=WRITES[write])
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("write", WRITES)
def test_full_disk_leaves_nothing_half_written(write: str, tmp_path: Path) -> None:
    said = on_a_full_disk(write, tmp_path / "new.bin")
    assert "new.bin: could not be written, the disk is full" in said
    assert "--resume" in said
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "old.bin"
    path.write_bytes(b"old")
    assert "disk is full" in on_a_full_disk("bytes", path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_for_another_reason_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_text("old")

    def half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_cannot_be_written_is_not_called_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_nothing_but_the_file_is_left_after_writing(tmp_path: Path) -> None:
    write_bytes(tmp_path / "new" / "folder" / "file.bin", b"content")
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["file.bin"]


def test_temporary_file_keeps_the_suffix_that_writers_go_by(tmp_path: Path) -> None:
    with replacing(tmp_path / "scan.nii.gz") as temporary:
        temporary.write_bytes(b"")
    assert temporary.name.endswith(".nii.gz")
    assert temporary.parent == tmp_path


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=x", "''=x", "\uff1d1", "\uff20x"]
)
def test_text_that_a_spreadsheet_would_run_is_neutralised_and_read_back(
    text: str, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    write_csv(path, ["scan"], [{"scan": text}])
    assert path.read_bytes().split(b"\n")[1].lstrip(b'"').startswith(b"'")
    assert read_csv(path) == [{"scan": text}]


@pytest.mark.parametrize("text", ["plain", "'quoted'", "a,b", 'say "so"', "two\nlines", "é", "'"])
def test_other_text_is_read_back_as_it_was_written(text: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", ["scan"], [{"scan": text}])
    assert read_csv(tmp_path / "table.csv") == [{"scan": text}]


def test_numbers_below_zero_stay_numbers(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", ["low"], [{"low": -0.5}])
    assert (tmp_path / "table.csv").read_text() == "low\n-0.5\n"


def test_a_value_that_is_lacking_or_none_is_an_empty_cell(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", ["a", "b"], [{"a": None}])
    assert read_csv(tmp_path / "table.csv") == [{"a": "", "b": ""}]


def test_table_saved_by_excel_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(b"\xef\xbb\xbfpath,label\r\na.png,COVID\r\n")
    assert read_csv(tmp_path / "table.csv") == [{"path": "a.png", "label": "COVID"}]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_refuses_what_is_no_number_and_keeps_the_old_file(
    number: float, tmp_path: Path
) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"auroc": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"auroc": number})
    assert '"auroc": 0.5' in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"bytes")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"bytes").hexdigest()
