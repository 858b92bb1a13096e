"""A remote file brought to a folder: whole and of the right checksum, or not under its name."""

from __future__ import annotations

import logging
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from covidssl.downloads.public_sets import RemoteFile
from covidssl.downloads.resuming import Patience, Progress, ResumingDownloader
from covidssl.errors import CovidsslError, DataError, UsageError
from covidssl.files import sha256_of

log = logging.getLogger(__name__)

_SPARE_BYTES = 64 << 20


def partial_of(name: str, folder: Path) -> Path:
    """Where the bytes of a file are gathered: hidden, so that no reader takes it for data."""
    return folder / f".{name}.part"


def fetch(
    file: RemoteFile,
    folder: Path,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Path:
    """Bring `file` to `folder`; goes on with what an earlier run has left.

    A file of that name that is there already is taken, unless its checksum or size is not the
    published one. A fetched file whose checksum is wrong is kept as `NAME.rejected`, so that it
    can be looked at. Where no checksum is published, a zip is held against its own.

    Raises:
        UsageError: when another file of that name is there.
        DataError: when the file is not what was published.
        CovidsslError: when it cannot be fetched now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file.name
    if path.exists():
        _refuse_another(file, path)
        return path
    partial = partial_of(file.name, folder)
    whole = partial.with_suffix(".whole")
    if not whole.exists():  # else a run was stopped while it computed the checksum
        ResumingDownloader(partial, file.size, progress, patience)(file.url, whole)
    if not _matches(whole, file.hash):
        raise _rejected(whole, path, f"its checksum is not the published one ({file.hash})")
    if file.hash is None:
        if _is_zip(file) and (fault := _fault_of_zip(whole)):
            raise _rejected(whole, path, fault)
        log.info("%s: no checksum is published; SHA-256 %s", file.name, sha256_of(whole))
    whole.replace(path)
    return path


def left_to_fetch(sizes: Mapping[str, int | None], folder: Path) -> int:
    """Bytes still to come, of the files (by name) whose size is known."""
    left = 0
    for name, size in sizes.items():
        if size is None or (folder / name).exists():
            continue
        partial = partial_of(name, folder)
        left += max(size - (partial.stat().st_size if partial.exists() else 0), 0)
    return left


def refuse_full_disk(needed: int, folder: Path) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        CovidsslError: with both numbers.
    """
    home = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(home).free
    if needed + _SPARE_BYTES > free:
        raise CovidsslError(
            f"{folder}: {needed / 1e9:.1f} GB are to come, but only {free / 1e9:.1f} GB are free. "
            f"Free some space, choose another --out, or fetch some of the files: --file NAME."
        )


def _matches(path: Path, known_hash: str | None) -> bool:
    from pooch.hashes import hash_matches

    return bool(hash_matches(str(path), known_hash))


def _rejected(whole: Path, path: Path, fault: str) -> DataError:
    rejected = path.with_name(f"{path.name}.rejected")
    whole.replace(rejected)
    return DataError(
        f"{path.name}: {fault}. It is kept as {rejected.name} to be looked at. Run again; if it "
        f"fails again, the file has changed at its source."
    )


def _is_zip(file: RemoteFile) -> bool:
    return file.name.lower().endswith(".zip")


def _fault_of_zip(path: Path) -> str:
    """What is wrong with a zip, by the checksums of its members; empty when nothing is."""
    if not zipfile.is_zipfile(path):
        return "it is no whole zip file"
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return "it is no whole zip file"
    except (RuntimeError, NotImplementedError):  # a password, or a method of its own
        return ""
    return f"its member {damaged} is damaged" if damaged else ""


def _refuse_another(file: RemoteFile, path: Path) -> None:
    size = path.stat().st_size
    right = file.hash is not None or file.size in (None, size)
    if file.hash is None and _is_zip(file):
        right = right and zipfile.is_zipfile(path)  # all its bytes were read when it was fetched
    if not right or not _matches(path, file.hash):
        raise UsageError(
            f"{path}: is there already ({size} bytes) and is not the file that was published. "
            f"Move it away, or choose another --out."
        )
