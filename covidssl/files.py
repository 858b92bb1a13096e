"""Writing that is never half done: to a temporary name in the same folder, then one rename."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from covidssl.errors import NoRoomError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_full(error: OSError) -> bool:
    """Whether a write failed for want of room: disk, quota, or size limit of a file."""
    return error.errno in _FULL


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends well.

    Raises:
        NoRoomError: when the disk or the file-size limit is full; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: writers such as matplotlib and SimpleITK choose the format by it.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part{''.join(path.suffixes[-2:])}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if is_full(error):
            raise NoRoomError(
                f"{path}: could not be written, the disk is full or the file too large for it "
                f"({error.strerror}). Nothing half-written was left; free some space and run again "
                f"with --resume."
            ) from error
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` as UTF-8, whole or not at all."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` as indented JSON, whole or not at all; NaN is refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write `rows` to `path` as CSV with the given columns, whole or not at all.

    A cell of text that a spreadsheet would run as a formula is given a leading apostrophe.
    """
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow(columns)
    for row in rows:
        cells = [_cell(row.get(column, "")) for column in columns]
        # Python before 3.13 quotes a line feed of its own accord, but no carriage return.
        writer = quoting if any("\r" in str(cell) for cell in cells) else plain
        writer.writerow(cells)
    write_text(path, text.getvalue())


def read_csv(path: Path) -> list[dict[str, str]]:
    """All rows of a CSV file, as dictionaries of text; undoes the apostrophe of `write_csv`."""
    return parse_csv(path.read_bytes())


def parse_csv(content: bytes) -> list[dict[str, str]]:
    """The rows of the bytes of a CSV file, as `read_csv` gives them."""
    lines = io.StringIO(content.decode("utf-8-sig"), newline="")
    return [
        {key: _uncell(value or "") for key, value in row.items() if key is not None}
        for row in csv.DictReader(lines)
    ]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def size_in_words(number: float) -> str:
    """A number of bytes for a person, such as `1.5 MiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.3g} {unit}" if number < 1000 else f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.3g} TiB"


def free_disk_bytes(folder: Path) -> int:
    """What is free on the disk where a folder lies, or would lie."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


# As a sign of full width, a formula begins in the spreadsheets of East Asia too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def _cell(value: object) -> object:
    if value is None:
        return ""
    # Text that begins so already gets one more, so that reading gives back what was written.
    if isinstance(value, str) and value.lstrip("'").startswith(_FORMULA):
        return f"'{value}"
    return value


def _uncell(value: str) -> str:
    quoted = value.startswith("'") and value.lstrip("'").startswith(_FORMULA)
    return value[1:] if quoted else value
