"""`.zip` files: what is in them without unpacking, and one scan's members on disk for reading."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from covidssl.errors import ScanError
from covidssl.io.squeezed import METHODS, open_squeezed

if TYPE_CHECKING:
    from covidssl.io.found import ScanFiles

_GIB = 2**30
_MOST_BYTES = 64 * _GIB
_MOST_RATIO = 200  # CT shrinks by 2 to 10; masks by far more, but they stay small
_LEAST_SUSPECT_BYTES = _GIB // 4
_MOST_MEMBERS = 1_000_000
_DRIVE = re.compile("[A-Za-z]:")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@dataclass(frozen=True)
class Member:
    """A file in a `.zip`: its path there, and its size in bytes."""

    path: Path
    size: int


@dataclass(frozen=True)
class _Opened:
    """A `.zip` that is open for reading, its files by path, and how many share another's path."""

    file: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]
    twice: int


@dataclass(frozen=True)
class Listing:
    """The files in a `.zip`, or the one reason (and its code) why none of them is read."""

    members: tuple[Member, ...] = ()
    problem: str | None = None
    code: str = "unreadable"


def list_members(archive: Path) -> Listing:
    """The files in a `.zip`, from its table of contents; nothing is unpacked."""
    try:
        opened = _opened(*_state(archive))
    except Exception as error:  # a damaged table makes the library fail in many ways
        problem = (
            f"is no .zip file that can be read ({type(error).__name__}): damaged, truncated or of "
            f"another format. Download or pack it again."
        )
        return Listing(problem=problem, code="zip_damaged")
    directory = opened.members
    wrong = _what_is_wrong(list(directory.values()), archive.stat().st_size)
    if wrong is None and opened.twice:
        told = f"{opened.twice} of its files have the path of another one"
        wrong = f"{told}, and which is meant cannot be known. Pack the folder again.", "zip_path"
    if wrong is not None:
        return Listing(problem=wrong[0], code=wrong[1])
    return Listing(tuple(Member(Path(name), info.file_size) for name, info in directory.items()))


def _what_is_wrong(infos: Sequence[zipfile.ZipInfo], room: int) -> tuple[str, str] | None:
    size = sum(info.file_size for info in infos)
    # Members of a trap lie over each other: together they claim more than the file holds.
    packed = min(room, sum(info.compress_size for info in infos))
    if len(infos) > _MOST_MEMBERS or size > _MOST_BYTES:
        return (
            f"would unpack to {len(infos)} files of {size / _GIB:.1f} GiB; at most {_MOST_MEMBERS} "
            f"files of {_MOST_BYTES // _GIB} GiB are read. Unpack it, or pack it in parts."
        ), "zip_bomb"
    if size > _LEAST_SUSPECT_BYTES and size > _MOST_RATIO * packed:
        return (
            f"would unpack to {size / max(1, packed):.0f} times its size ({size / _GIB:.1f} GiB); "
            f"CT shrinks by 10 at most, and above {_MOST_RATIO} it is taken for a trap. Unpack it "
            f"by hand if you trust it."
        ), "zip_bomb"
    if any(_leads_out(info.filename) for info in infos):
        return (
            "holds files whose paths are absolute or lead out by '..', begin with a drive, or are "
            "no plain text. Pack the folder again, with relative paths."
        ), "zip_path"
    locked = sum(bool(info.flag_bits & 1) for info in infos)
    if locked:
        return (
            f"{locked} of its {len(infos)} files are encrypted. Unpack it with its password."
        ), "zip_encrypted"
    others = sum(info.compress_type not in _METHODS for info in infos)
    if others:
        return (
            f"{others} of its {len(infos)} files are compressed by a method that is not known; "
            f"expected Deflate, bzip2, LZMA or none. Pack it again."
        ), "zip_method"
    return None


def _leads_out(name: str) -> bool:
    if any(sign < " " for sign in name):
        return True
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or parts[0].endswith(":") or ".." in parts:
        return True
    # On Windows `C:scan.nii` is a file of another drive, wherever it stands in the path.
    return any(_DRIVE.match(part) for part in parts)


def open_member(archive: Path | None, path: Path) -> IO[bytes]:
    """A file for reading: a member of a `.zip`, or, without one, a file on disk.

    Raises:
        OSError, KeyError, ...: whatever the damage brings; callers turn it into a refusal.
    """
    if archive is None:
        return path.open("rb")
    opened = _opened(*_state(archive))
    info = opened.members[path.as_posix()]
    if info.compress_type in METHODS:
        return open_squeezed(archive, info)
    return opened.file.open(info)


def member_states(archive: Path, paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Size and CRC-32 of each member; (-1, -1) for one that is not there."""
    try:
        directory = _opened(*_state(archive)).members
    except Exception:  # gone, or damaged since it was listed
        return [(-1, -1)] * len(paths)
    infos = [directory.get(path.as_posix()) for path in paths]
    return [(-1, -1) if info is None else (info.file_size, info.CRC) for info in infos]


@contextmanager
def on_disk(scan: ScanFiles) -> Iterator[ScanFiles]:
    """Give the scan with paths that other libraries can open; members of a `.zip` are unpacked.

    They lie in a temporary folder, which is deleted afterwards.

    Raises:
        ScanError: when a member is damaged, or the disk for temporary files is full.
    """
    if scan.archive is None or scan.problem is not None:
        yield scan
        return
    with tempfile.TemporaryDirectory(prefix="covidssl-") as made:
        folder = Path(made)
        yield replace(scan, paths=tuple(_unpack(scan, folder)), archive=None)


def _unpack(scan: ScanFiles, folder: Path) -> Iterator[Path]:
    for number, member in enumerate(scan.paths, start=1):
        shown = f"file {number}" if scan.hidden else member.name
        target = folder / member
        if not is_inside(member.as_posix()):
            raise ScanError(f"{scan.name} ({shown}): its path leads out of the .zip.", "zip_path")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with open_member(scan.archive, member) as packed, target.open("xb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 2**20)
        except Exception as error:  # damage makes the library fail in many ways
            reason = f"{error.strerror}" if isinstance(error, OSError) and error.strerror else ""
            raise ScanError(
                f"{scan.name} ({shown}): could not be unpacked ({reason or type(error).__name__}): "
                f"the .zip is damaged, or there is no room for temporary files. Unpack it by hand.",
                "zip_damaged",
            ) from None
        yield target


def _state(archive: Path) -> tuple[Path, int, int, int]:
    state = archive.stat()
    # A forked worker must not share the place in the file with its parent.
    return archive, state.st_size, state.st_mtime_ns, os.getpid()


@lru_cache(maxsize=2)
def _opened(archive: Path, _size: int, _time: int, _process: int) -> _Opened:
    # Kept open: reading the table of contents again for each of thousands of scans would be slow.
    file = zipfile.ZipFile(archive)
    # Some programs write `./a/b` or `a\\b`.
    infos = [info for info in file.infolist() if not info.is_dir()]
    members = {PurePosixPath(info.filename.replace("\\", "/")).as_posix(): info for info in infos}
    return _Opened(file, members, len(infos) - len(members))


def is_inside(name: PurePosixPath | str) -> bool:
    """Whether a path that a header or an archive gives stays below the folder it stands in."""
    return not _leads_out(str(name))
