"""Finding scans: which files make one scan, and what it is called; no pixel is decoded here."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from covidssl.errors import DataError, ScanError, UsageError
from covidssl.io.archive import list_members, open_member
from covidssl.io.found import Found, ScanFiles, in_order, natural_order, writable
from covidssl.io.headers import series_of
from covidssl.io.voxel_files import header_text, voxel_files
from covidssl.pseudonyms import Pseudonyms

__all__ = ["Found", "ScanFiles", "find_scans", "natural_order"]

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
_ZIP = ".zip"
_NESTED = "a .zip inside a .zip is not read. Unpack the outer one."
_EMPTY = "the file is empty (0 bytes)."
_JUNK = ("thumbs.db", "desktop.ini", "__macosx", "dicomdir")
_OUTSIDE = "(link out of the folder)"
_OUTPUT = "(folder that covidssl wrote)"
_MAGIC_AT = 128
_RECORD, _MOST_OF_A_RECORD = "record.json", 2**20


@dataclass(frozen=True)
class _Candidate:
    path: Path
    name: str
    folder: str | None  # the name for a series in this folder; None for a file given by itself
    suffix: str
    empty: bool
    root: Path  # no voxels are taken from outside
    archive: Path | None = None

    @property
    def home(self) -> tuple[Path | None, Path]:
        """The folder that it lies in."""
        return self.archive, self.path.parent

    def scan(self, format: str, *beside: Path) -> ScanFiles:
        return ScanFiles(self.name, format, (self.path, *beside), archive=self.archive)

    def refused(self, problem: str, code: str = "unreadable") -> ScanFiles:
        return replace(self.scan("unreadable"), problem=problem, code=code)


def find_scans(
    inputs: Sequence[Path],
    ids: Pseudonyms | None = None,
    outputs: Collection[Path] | None = None,
) -> Found:
    """Look for scans in files, folders and `.zip` files, folders in folders included.

    Hidden files are passed over, links out of an INPUT are not followed, other files are counted.
    A folder with one DICOM series gives a scan with the folder's name; several series in one folder
    give `folder#1`, `folder#2`, ... in the order of their first file names. What is in a `.zip` is
    called as if it were a folder of that name. A folder that cannot be listed is a scan that
    cannot be read (`closed`), since nobody knows what is in it.

    Args:
        inputs: files and folders.
        ids: gives pseudonyms of the scans' paths in place of their names.
        outputs: where given, these folders and those of earlier runs of covidssl below an INPUT
            are passed over: their pictures and maps are no scans.

    Raises:
        UsageError: when an INPUT does not exist, or is neither a file nor a folder.
        DataError: when there is no scan at all.
    """
    ignored: Counter[str] = Counter()
    search = _Search(ignored, None if outputs is None else {out.resolve() for out in outputs})
    candidates: dict[tuple[Path | None, Path], _Candidate] = {}
    scans: list[ScanFiles] = []
    for given in inputs:
        if not given.exists():
            raise UsageError(f"{given}: there is no such file or folder.")
        if not given.is_file() and not given.is_dir():
            raise UsageError(f"{given}: is neither a file nor a folder.")
        prefix = (given.name or given.resolve().name) if len(inputs) > 1 else ""
        for candidate in _candidates(given, prefix, search):
            if isinstance(candidate, ScanFiles):
                scans.append(candidate)
            else:
                candidates.setdefault((candidate.archive, candidate.path), candidate)
    scans += _grouped(list(candidates.values()), ignored)
    if ids is not None:
        ignored = _without_suffixes(ignored)
    if not scans:
        shown = ", ".join(given.name or str(given) for given in inputs[:3])
        others = ", ".join(f"{count} {suffix}" for suffix, count in ignored.most_common(5))
        raise DataError(
            f"{'INPUT' if ids else shown}: no CT found; expected DICOM, NIfTI, MetaImage, NRRD, "
            f"PNG, JPG or TIFF, or a .zip of them "
            f"({'other files: ' + others if others else 'no files at all'})."
        )
    counts = {writable(suffix): count for suffix, count in sorted(ignored.items())}
    return Found(in_order(scans, ids), counts)


def _without_suffixes(ignored: Counter[str]) -> Counter[str]:
    """Counts that say no suffix: it is a part of a name."""
    hidden: Counter[str] = Counter()
    for suffix, count in ignored.items():
        hidden[suffix if suffix.startswith("(") else "(other)"] += count
    return hidden


@dataclass(frozen=True)
class _Search:
    ignored: Counter[str]
    outputs: Collection[Path] | None

    def passes_over(self, folder: Path, names: Collection[str]) -> bool:
        """Whether a folder below an INPUT holds what a run has written."""
        if self.outputs is None:
            return False
        return folder in self.outputs or (_RECORD in names and _is_record(folder / _RECORD))


def _is_record(path: Path) -> bool:
    try:
        content = path.read_bytes() if path.stat().st_size <= _MOST_OF_A_RECORD else b""
        record = json.loads(content)
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and {"verb", "status"} <= record.keys()


def _candidates(given: Path, prefix: str, search: _Search) -> Iterator[_Candidate | ScanFiles]:
    own = given.name or given.resolve().name
    if given.is_file():
        home = given.parent.resolve()
        empty = given.stat().st_size == 0
        yield from _unzipped(_Candidate(home / own, own, None, _suffix(own), empty, home))
        return
    root = given.resolve()
    cut = len(str(root)) if root.name else 0
    for path, problem in _entries(root, root, search):
        relative = str(path)[cut:].lstrip(os.sep).replace(os.sep, "/")
        name = (f"{prefix}/{relative}" if prefix and relative else relative) or own
        if problem is not None:
            yield ScanFiles(name, "unreadable", (path,), problem=problem, code="closed")
            continue
        folder = name.rpartition("/")[0] or own
        candidate = _Candidate(path, name, folder, _suffix(path.name), _is_empty(path), root)
        yield from _unzipped(candidate)


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:  # reading will say what is wrong with it
        return False


def _unzipped(of: _Candidate) -> Iterator[_Candidate | ScanFiles]:
    if of.suffix != _ZIP or of.empty:
        yield of if of.suffix != _ZIP else of.refused(_EMPTY, "empty_file")
        return
    listing = list_members(of.path)
    if listing.problem is not None:
        yield of.refused(listing.problem, listing.code)
    for member in listing.members:
        if any(part.startswith(".") or part.lower() in _JUNK for part in member.path.parts):
            continue
        inner, empty = member.path.as_posix(), member.size == 0
        name, suffix = f"{of.name}/{inner}", _suffix(member.path.name)
        folder = name.rpartition("/")[0]
        found = _Candidate(member.path, name, folder, suffix, empty, of.path, of.path)
        if suffix == _ZIP:
            yield found.refused(_NESTED, "zip_nested")
        else:
            yield found


def _entries(folder: Path, root: Path, search: _Search) -> Iterator[tuple[Path, str | None]]:
    """All files below a folder, and those folders that cannot be listed, with the reason."""
    try:
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
            folders = {entry.name for entry in ordered if entry.is_dir(follow_symlinks=False)}
    except OSError as error:
        yield folder, f"this folder cannot be read: {error.strerror}."
        return
    if folder != root and search.passes_over(folder, {entry.name for entry in ordered}):
        search.ignored[_OUTPUT] += 1
        return
    for entry in ordered:
        if entry.name.startswith(".") or entry.name.lower() in _JUNK:
            continue
        path = Path(entry.path)
        if entry.name in folders:
            yield from _entries(path, root, search)
        elif entry.is_symlink() and not _leads_to_file_inside(path, root):
            search.ignored[_OUTSIDE] += 1
        elif _is_file(entry):
            yield path, None


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # reading will say what is wrong with it
        return True


def _leads_to_file_inside(link: Path, root: Path) -> bool:
    try:
        return link.is_file() and link.resolve().is_relative_to(root)
    except OSError:  # into a closed folder
        return False


def _suffix(name: str) -> str:
    lowered = name.lower()
    return ".nii.gz" if lowered.endswith(".nii.gz") else PurePath(lowered).suffix


def _grouped(candidates: Sequence[_Candidate], ignored: Counter[str]) -> Iterator[ScanFiles]:
    folders: dict[tuple[Path | None, Path], dict[str, list[_Candidate]]]
    folders = defaultdict(lambda: defaultdict(list))
    unknown: list[_Candidate] = []
    voxels: set[tuple[Path | None, Path]] = set()
    for candidate in candidates:
        suffix = candidate.suffix
        if candidate.empty and (suffix in _FORMATS or suffix in _DICOM):
            yield candidate.refused(_EMPTY, "empty_file")
        elif _FORMATS.get(suffix) == "metaimage":
            scan = _with_voxels(candidate)
            voxels.update((scan.archive, path) for path in scan.paths[1:])
            yield scan
        elif suffix in _FORMATS:
            yield candidate.scan(_FORMATS[suffix])
        else:
            unknown.append(candidate)
    for candidate in unknown:
        if (candidate.archive, candidate.path) in voxels:
            continue
        marked, series = _dicom(candidate)
        if series is not None:
            folders[candidate.home][series].append(candidate)
        elif marked or candidate.suffix in _DICOM:
            called = candidate.suffix in _DICOM
            so = f"is called {candidate.suffix}" if called else "begins like DICOM"
            yield candidate.refused(f"{so} but holds no DICOM image.", "no_dicom")
        else:
            ignored[candidate.suffix or "(none)"] += 1
    for by_series in folders.values():
        yield from _series_scans(by_series)


def _with_voxels(candidate: _Candidate) -> ScanFiles:
    try:
        with open_member(candidate.archive, candidate.path) as header:
            names = voxel_files(header_text(header), candidate.suffix)
    except ScanError as error:
        return candidate.refused(str(error), error.code)
    except Exception:  # reading will say what is wrong with it
        return candidate.scan("metaimage")
    beside = [candidate.path.parent / name for name in names]
    if candidate.archive is not None:
        return candidate.scan("metaimage", *beside)
    if not all(path.resolve().is_relative_to(candidate.root) for path in beside):
        return candidate.refused("the file with its voxels is a link out of it.", "outside_folder")
    return candidate.scan("metaimage", *beside)


def _dicom(candidate: _Candidate) -> tuple[bool, str | None]:
    """Whether the file begins with the mark of DICOM, and what tells its series from others."""
    try:
        with open_member(candidate.archive, candidate.path) as start:
            marked = start.read(_MAGIC_AT + 4)[_MAGIC_AT:] == b"DICM"
            if not marked and candidate.suffix not in _DICOM:
                return False, None
            start.seek(0)
            return marked, series_of(start)
    except Exception:  # a closed or damaged file
        return False, None


def _series_scans(by_series: dict[str, list[_Candidate]]) -> Iterator[ScanFiles]:
    groups = [sorted(of, key=lambda c: natural_order(c.path.name)) for of in by_series.values()]
    groups.sort(key=lambda group: natural_order(group[0].path.name))
    for number, group in enumerate(groups, start=1):
        first = group[0]
        if first.folder is None and len(group) == 1:
            yield first.scan("dicom")
            continue
        # Slices given one by one are still one series, in the folder that they came from.
        folder = first.path.parent.name if first.folder is None else first.folder
        several = len(groups) > 1
        yield ScanFiles(
            f"{folder}#{number}" if several else folder,
            "dicom",
            tuple(candidate.path for candidate in group),
            archive=first.archive,
            folder=folder if several else None,
        )
