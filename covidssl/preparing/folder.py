"""The folder of a store: who may fill it, one at a time, and what is cleared away in it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from covidssl.errors import UsageError
from covidssl.folder_lock import alone_in
from covidssl.preparing.one_scan import PICTURES
from covidssl.store.record import FORMAT, RECORD, SCANS, UNFINISHED, ScanRecord, short_name

LOCKS = ".*lock"
"""Of this store, and of the run folder that it lies in."""

PARTS = ".*.part*"
"""What a kill leaves of a file that was being written, see `covidssl.files.replacing`."""

# What the run itself writes, before the store.
_BOOKS = {"config.yaml", "log.txt", "record.json"}
_OURS = re.compile(r"[0-9a-f]{24}(\.png)?")


def checked(path: Path, resume: bool) -> dict[str, Any]:
    """Make the folder of a store, or see that it may be gone on with.

    Returns:
        The `store.json` or `unfinished.json` that is there; empty when there is none.

    Raises:
        UsageError: when the folder holds something and `resume` is not set, or when it is no
            store, or one of another format.
    """
    if not path.exists() or (path.is_dir() and not _names(path)):
        path.mkdir(parents=True, exist_ok=True)
        return {}
    if not resume:
        raise UsageError(f"{path}: exists and is not empty; go on with --resume or choose another.")
    for name in (RECORD, UNFINISHED):
        if path.is_dir() and (path / name).is_file():
            try:
                before = json.loads((path / name).read_text(encoding="utf-8"))
                found = before.get("format")
            except (ValueError, AttributeError):
                before, found = {}, FORMAT  # damaged: it is written anew
            if found != FORMAT:
                raise UsageError(
                    f"{path}: holds a store of format {found}, and this version writes {FORMAT}. "
                    f"Prepare into another folder, or start again with --overwrite."
                )
            return dict(before)
    names = _names(path) if path.is_dir() else {path.name}
    if names - _BOOKS:
        raise UsageError(f"{path}: holds something that is no store; choose another folder.")
    return {}


def _names(path: Path) -> set[str]:
    names = {entry.name for entry in path.iterdir()}
    return {name for name in names if not (fnmatch(name, LOCKS) or fnmatch(name, PARTS))}


def alone_filling(folder: Path) -> AbstractContextManager[None]:
    """Keep other processes out of a store's folder, where the file system can.

    Raises:
        UsageError: when another one is in it.
    """
    refusal = (
        "another prepare is filling it. Wait until that one has ended, or choose another folder."
    )
    return alone_in(folder, ".lock", refusal)


def remove_leftovers(folder: Path) -> None:
    """Take away files that killed runs left half-written."""
    for place in (folder, folder / PICTURES):
        for left in place.glob(PARTS):
            left.unlink(missing_ok=True)


def remove_unowned(folder: Path, scans: Iterable[str], records: Iterable[ScanRecord]) -> None:
    """Take away groups that no kept record owns, and pictures of scans that are not in the table.

    Args:
        folder: of the store.
        scans: names in the table.
        records: of all scans, kept or not.
    """
    kept = {short_name(record.row.scan) for record in records if record.kept}
    shown = {f"{short_name(scan)}.png" for scan in scans}
    for place, owned in ((SCANS, kept), (PICTURES, shown)):
        for entry in (folder / place).glob("*"):
            if entry.name in owned or not _OURS.fullmatch(entry.name):
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
