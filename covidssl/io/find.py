"""Finding scans: which files make one scan, and what it is called; no pixel is decoded here."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from covidssl.errors import DataError, UsageError
from covidssl.io.headers import series_of

_DICOM = (".dcm", ".dicom", ".ima")
_FORMATS = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".mhd": "metaimage",
    ".mha": "metaimage",
    ".nrrd": "metaimage",
    ".nhdr": "metaimage",
    ".png": "picture",
    ".jpg": "picture",
    ".jpeg": "picture",
    ".tif": "picture",
    ".tiff": "picture",
}
_JUNK = ("thumbs.db", "desktop.ini", "__macosx", "dicomdir")
# Whatever holds the voxels beside a MetaImage or NRRD header is part of that scan.
_VOXELS = (".raw", ".zraw")
_OUTSIDE = "(link out of the folder)"
_CLOSED = "(folder that may not be read)"
_MAGIC_AT = 128


@dataclass(frozen=True)
class ScanFiles:
    """What one scan is made of, before reading.

    Attributes:
        name: path relative to the INPUT (posix), beginning with the INPUT's own name where there
            are several; unique among the scans found together.
        format: dicom, nifti, metaimage, picture or unreadable.
        paths: one file; for DICOM all slices of one series, in natural order of their names.
        problem: for `unreadable`: why, in plain words.
    """

    name: str
    format: str
    paths: tuple[Path, ...]
    problem: str | None = None

    def stamp(self) -> str:
        """SHA-256 of the files' names, sizes and times: another one means another scan."""
        states = [(path.name, *_size_and_time(path)) for path in self.paths]
        return hashlib.sha256(json.dumps([self.format, states]).encode()).hexdigest()


@dataclass(frozen=True)
class Found:
    """All scans, in natural order of their names, and how many other files of each suffix."""

    scans: tuple[ScanFiles, ...]
    ignored: dict[str, int]


@dataclass(frozen=True)
class _Candidate:
    path: Path
    name: str
    folder: str | None  # the name for a series in this folder; None for a file given by itself
    suffix: str
    empty: bool


def find_scans(inputs: Sequence[Path]) -> Found:
    """Look for scans in files and folders, folders in folders included.

    Hidden files are passed over, links out of an INPUT are not followed, other files are counted.
    A folder with one DICOM series gives a scan with the folder's name; several series in one folder
    give `folder#1`, `folder#2`, ... in the order of their first file names.

    Raises:
        UsageError: when an INPUT does not exist.
        DataError: when there is no scan at all.
    """
    ignored: Counter[str] = Counter()
    candidates: dict[Path, _Candidate] = {}
    for given in inputs:
        if not given.exists():
            raise UsageError(f"{given}: there is no such file or folder.")
        prefix = (given.name or given.resolve().name) if len(inputs) > 1 else ""
        for candidate in _candidates(given, prefix, ignored):
            candidates.setdefault(candidate.path, candidate)
    scans = _grouped(list(candidates.values()), ignored)
    if not scans:
        shown = ", ".join(given.name or str(given) for given in inputs[:3])
        others = ", ".join(f"{count} {suffix}" for suffix, count in ignored.most_common(5))
        raise DataError(
            f"{shown}: no CT found; expected DICOM, NIfTI, MetaImage, NRRD, PNG, JPG or TIFF "
            f"({'other files: ' + others if others else 'no files at all'})."
        )
    named = sorted(map(_writable, scans), key=lambda scan: natural_order(scan.name))
    return Found(tuple(_unique(named)), dict(sorted(ignored.items())))


def _candidates(given: Path, prefix: str, ignored: Counter[str]) -> Iterator[_Candidate]:
    own = given.name or given.resolve().name
    if given.is_file():
        path = given.parent.resolve() / own
        yield _Candidate(path, own, None, _suffix(own), given.stat().st_size == 0)
        return
    root = given.resolve()
    for entry in _entries(root, root, ignored):
        relative = Path(entry.path).relative_to(root)
        if prefix:
            relative = Path(prefix) / relative
        folder_name = relative.parent.as_posix()
        yield _Candidate(
            Path(entry.path),
            relative.as_posix(),
            own if folder_name == "." else folder_name,
            _suffix(entry.name),
            entry.stat().st_size == 0,
        )


def _entries(folder: Path, root: Path, ignored: Counter[str]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except PermissionError:
        ignored[_CLOSED] += 1
        return
    for entry in ordered:
        if entry.name.startswith(".") or entry.name.lower() in _JUNK:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(Path(entry.path), root, ignored)
        elif entry.is_symlink() and not _leads_to_file_inside(Path(entry.path), root):
            ignored[_OUTSIDE] += 1
        elif entry.is_file():
            yield entry


def _leads_to_file_inside(link: Path, root: Path) -> bool:
    return link.is_file() and link.resolve().is_relative_to(root)


def _suffix(name: str) -> str:
    lowered = name.lower()
    return ".nii.gz" if lowered.endswith(".nii.gz") else Path(lowered).suffix


def _grouped(candidates: Sequence[_Candidate], ignored: Counter[str]) -> list[ScanFiles]:
    scans: list[ScanFiles] = []
    folders: dict[Path, dict[str, list[_Candidate]]] = defaultdict(lambda: defaultdict(list))
    headed = {c.path.parent for c in candidates if c.suffix in (".mhd", ".nhdr")}
    for candidate in candidates:
        path, suffix = candidate.path, candidate.suffix
        if suffix in _FORMATS or suffix in _DICOM:
            if candidate.empty:
                problem = "the file is empty (0 bytes)."
                scans.append(ScanFiles(candidate.name, "unreadable", (path,), problem))
                continue
            if suffix in _FORMATS:
                scans.append(ScanFiles(candidate.name, _FORMATS[suffix], (path,)))
                continue
        elif not _has_magic(path):
            if not (suffix in _VOXELS and path.parent in headed):
                ignored[suffix or "(none)"] += 1
            continue
        series = series_of(path)
        if series is None:
            called = f"is called {suffix}" if suffix in _DICOM else "begins like DICOM"
            problem = f"{called} but holds no DICOM image."
            scans.append(ScanFiles(candidate.name, "unreadable", (path,), problem))
        else:
            folders[path.parent][series].append(candidate)
    for by_series in folders.values():
        scans.extend(_series_scans(by_series))
    return scans


def _has_magic(path: Path) -> bool:
    try:
        with path.open("rb") as start:
            return start.read(_MAGIC_AT + 4)[_MAGIC_AT:] == b"DICM"
    except OSError:
        return False


def _series_scans(by_series: dict[str, list[_Candidate]]) -> Iterator[ScanFiles]:
    groups = [sorted(of, key=lambda c: natural_order(c.path.name)) for of in by_series.values()]
    groups.sort(key=lambda group: natural_order(group[0].path.name))
    for number, group in enumerate(groups, start=1):
        first = group[0]
        if first.folder is None and len(group) == 1:
            yield ScanFiles(first.name, "dicom", (first.path,))
            continue
        # Slices given one by one are still one series, in the folder that they came from.
        folder = first.path.parent.name if first.folder is None else first.folder
        name = folder if len(groups) == 1 else f"{folder}#{number}"
        yield ScanFiles(name, "dicom", tuple(candidate.path for candidate in group))


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """What to sort file names by: `slice 2` comes before `slice 10`."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    )


def _writable(scan: ScanFiles) -> ScanFiles:
    # Bytes of a file name that are no UTF-8 could not be written into a table.
    return replace(scan, name=scan.name.encode("utf-8", "backslashreplace").decode())


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


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return -1, -1
    return state.st_size, state.st_mtime_ns
