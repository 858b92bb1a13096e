"""What finding gives: the files of one scan, what it is called, and when it is another one."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from covidssl.io.archive import member_states
from covidssl.legible import legible
from covidssl.pseudonyms import Pseudonyms


@dataclass(frozen=True)
class ScanFiles:
    """What one scan is made of, before reading.

    Attributes:
        name: path relative to the INPUT (posix), beginning with the INPUT's own name where there
            are several; unique among the scans found together. A pseudonym where `hidden`.
        format: dicom, nifti, metaimage, picture or unreadable.
        paths: one file, followed by the files that its header names for the voxels; for DICOM all
            slices of one series, in natural order of their names.
        problem: for `unreadable`: why, in plain words.
        code: for `unreadable`: why, as one word (docs/formats.md).
        archive: the `.zip` whose members `paths` are; None for files on disk.
        folder: what the series of one folder have in common, for DICOM series that share one.
        hidden: names of files must not be shown: messages count slices in their place.
    """

    name: str
    format: str
    paths: tuple[Path, ...]
    problem: str | None = None
    code: str = "unreadable"
    archive: Path | None = None
    folder: str | None = None
    hidden: bool = False

    def stamp(self) -> str:
        """SHA-256 of the files' names, sizes and times: another one means another scan.

        Members of a `.zip` count by their checksums in place of times. Where names are hidden
        they do not count, since they could be guessed from it.
        """
        if self.archive is None:
            states = [_size_and_time(path) for path in self.paths]
        else:
            states = member_states(self.archive, self.paths)
        names = ["" if self.hidden else path.name for path in self.paths]
        named = [(name, *state) for name, state in zip(names, states, strict=True)]
        return hashlib.sha256(json.dumps([self.format, named]).encode()).hexdigest()

    def place(self) -> str:
        """Where the files lie on this machine; it tells scans apart whose names are the same."""
        if self.archive is not None:
            return json.dumps([str(_real(self.archive)), *map(str, self.paths)])
        folders = {folder: _real(folder) for folder in {path.parent for path in self.paths}}
        return json.dumps([str(folders[path.parent] / path.name) for path in self.paths])


@dataclass(frozen=True)
class Found:
    """All scans, in natural order of their names, and how many other files of each suffix."""

    scans: tuple[ScanFiles, ...]
    ignored: dict[str, int]


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """What to sort file names by: `slice 2` comes before `slice 10`."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    )


def in_order(scans: Sequence[ScanFiles], ids: Pseudonyms | None) -> tuple[ScanFiles, ...]:
    """Scans in natural order of their paths, each with a name of its own, or a pseudonym of it.

    What was found twice is one scan. Those of one name are numbered by where they lie, so that
    names do not depend on the order in which they were found.
    """
    named = sorted(map(_writable, _distinct(scans)), key=_rank)
    unique = _unique(named)
    return tuple(unique if ids is None else (_hidden(scan, ids) for scan in unique))


def _distinct(scans: Sequence[ScanFiles]) -> Iterator[ScanFiles]:
    seen: set[object] = set()
    for scan in scans:
        # Of files that cannot be read each name is a scan of its own: rows of a list have one.
        own = (scan.name if scan.problem is not None else "", scan.archive, scan.paths)
        if own not in seen:
            seen.add(own)
            yield scan


def _rank(scan: ScanFiles) -> tuple[object, ...]:
    return natural_order(scan.name), scan.name, scan.place()


def _hidden(scan: ScanFiles, ids: Pseudonyms) -> ScanFiles:
    folder = None if scan.folder is None else ids.of("path", scan.folder)
    return replace(scan, name=ids.of("path", scan.name), folder=folder, hidden=True)


def writable(name: str) -> str:
    """A file's name as it can stand in tables, logs, pages and terminals."""
    # Bytes of a file name that are no UTF-8 could not be written into a table.
    return legible(name.encode("utf-8", "backslashreplace").decode())


def _writable(scan: ScanFiles) -> ScanFiles:
    folder = None if scan.folder is None else writable(scan.folder)
    return replace(scan, name=writable(scan.name), folder=folder)


def _unique(scans: Sequence[ScanFiles]) -> Iterator[ScanFiles]:
    seen: Counter[str] = Counter()
    taken = {scan.name for scan in scans}
    for scan in scans:
        seen[scan.name] += 1
        name, number = scan.name, seen[scan.name]
        while number > 1 and name in taken:
            name = f"{scan.name} ({number})"
            number += 1
        taken.add(name)
        yield replace(scan, name=name)


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):  # a list may name anything, a ring of links too
        return path.absolute()


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except (OSError, ValueError):
        return -1, -1
    return state.st_size, state.st_mtime_ns
