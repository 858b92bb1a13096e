"""Every scan of a dataset read once: its views, hashes and file facts, kept in a cache."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_arrays

from covidssl.audit.views import WIDTHS, Floats, views_of
from covidssl.datasets import Dataset, LabelledScan
from covidssl.duplicates import picture_hash
from covidssl.errors import CovidsslError, DataError, ScanError, traced
from covidssl.files import write_bytes
from covidssl.hounsfield import Pixels, to_unit
from covidssl.io import read_scan
from covidssl.io.archive import on_disk
from covidssl.io.picture import picture_facts
from covidssl.labelled_frames import Progress, no_progress
from covidssl.lungs import REVISION, segment_lungs
from covidssl.scan_frames import slices_with_lung
from covidssl.splits import Prints
from covidssl.version import __version__

log = logging.getLogger(__name__)

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_CACHE = 1  # raise it when the views change
_UNEXPECTED = "unexpected "


class FileFacts(NamedTuple):
    """What a file says before it is read: format, colour mode, slices, height and width."""

    format: str
    mode: str
    slices: int
    height: int
    width: int


@dataclass(frozen=True)
class Seen:
    """What the trivial models see of each scan, in natural file order.

    Attributes:
        scans: those that could be read.
        views: name to numbers (len(scans), width); the mean over the slices of a scan.
        hashes: (len(scans), 32) uint8, `picture_hash` of the middle slice that is looked at.
        voxels: SHA-256 of the voxels of each scan.
        facts: of each scan's files.
        without_lungs: names of scans in which no usable lungs were found.
        dropped: name and reason of every scan that could not be read.
    """

    scans: tuple[LabelledScan, ...]
    views: dict[str, Floats]
    hashes: NDArray[np.uint8]
    voxels: tuple[str, ...]
    facts: tuple[FileFacts, ...]
    without_lungs: tuple[str, ...]
    dropped: tuple[tuple[str, str], ...]

    @property
    def target(self) -> NDArray[np.int64]:
        """(N,) 1 for a positive scan."""
        return np.array([scan.positive for scan in self.scans], np.int64)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names, labels and voxels."""
        digest = hashlib.sha256()
        for scan, voxels in zip(self.scans, self.voxels, strict=True):
            digest.update(json.dumps([scan.name, scan.positive, voxels]).encode())
        return digest.hexdigest()

    @property
    def prints(self) -> Prints:
        """What duplicates and order are found by."""
        names = tuple(scan.name for scan in self.scans)
        return Prints(names, self.hashes, self.voxels, self.views["rival"])


def see(
    dataset: Dataset,
    most_slices: int,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> Seen:
    """Read all scans of a dataset; one that cannot be read is dropped with its reason.

    Args:
        dataset: labelled scans.
        most_slices: slices of one scan that are looked at, spread evenly.
        cache: folder for what was computed; None for none.
        progress: shows how far it is.

    Raises:
        DataError: when no scan of a class could be read.
        CovidsslError: when the disk is full.
    """
    scans = dataset.scans
    file = cache / f"audit-{_key(scans, most_slices)[:24]}.safetensors" if cache else None
    seen = _read_cache(file, scans) if file else None
    if seen is None:
        seen = _seen(scans, most_slices, progress)
        # What was not foreseen may go well the next time, so it is not kept.
        if file and not any(reason.startswith(_UNEXPECTED) for _, reason in seen.dropped):
            _write_cache(file, seen)
    if len(set(seen.target.tolist())) < 2:
        reason = f" First: {seen.dropped[0][1]}" if seen.dropped else ""
        raise DataError(
            f"{dataset.name}: no scan of one class could be read "
            f"({len(seen.dropped)} dropped).{reason}"
        )
    return seen


class _One(NamedTuple):
    """What is seen of one scan."""

    views: dict[str, Floats]
    hash: NDArray[np.uint8]
    voxels: str
    facts: FileFacts
    lungs: bool


def _seen(scans: Sequence[LabelledScan], most_slices: int, progress: Progress) -> Seen:
    found: list[tuple[LabelledScan, _One]] = []
    dropped: list[tuple[str, str]] = []
    for scan in progress(scans, "looking at scans", len(scans)):
        one = _one_or_reason(scan, most_slices)
        if isinstance(one, str):
            dropped.append((scan.name, one))
        else:
            found.append((scan, one))
    if not found:
        raise DataError(f"Not one of {len(scans)} scans could be read. First: {dropped[0][1]}")
    return Seen(
        scans=tuple(scan for scan, _ in found),
        views={name: np.stack([one.views[name] for _, one in found]) for name in WIDTHS},
        hashes=np.stack([one.hash for _, one in found]),
        voxels=tuple(one.voxels for _, one in found),
        facts=tuple(one.facts for _, one in found),
        without_lungs=tuple(scan.name for scan, one in found if not one.lungs),
        dropped=tuple(dropped),
    )


def _one_or_reason(scan: LabelledScan, most_slices: int) -> _One | str:
    try:
        return _one(scan, most_slices)
    except ScanError as error:
        return str(error)
    except CovidsslError:
        raise
    except Exception as error:  # not foreseen, but no reason to lose the other scans
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            raise
        log.error("%s: dropped: %s", scan.name, traced(error))
        return f"{_UNEXPECTED}{type(error).__name__}"


def _one(scan: LabelledScan, most_slices: int) -> _One:
    ct = read_scan(scan.files)
    lungs = segment_lungs(ct)
    slices = slices_with_lung(lungs, most_slices)
    pixels = ct.pixels or Pixels.WINDOWED
    planes = to_unit(ct.array[slices], pixels)
    masks = np.asarray(lungs.mask.array[slices], np.bool_) if lungs.usable else None
    of_each = [
        views_of(plane, None if masks is None else masks[index])
        for index, plane in enumerate(planes)
    ]
    digest = hashlib.sha256(f"{ct.array.shape} {ct.array.dtype}".encode())
    digest.update(np.ascontiguousarray(ct.array).tobytes())
    return _One(
        {name: np.mean([views[name] for views in of_each], axis=0) for name in WIDTHS},
        picture_hash(planes[len(planes) // 2]),
        digest.hexdigest(),
        _facts(scan, pixels, ct.array.shape),
        lungs.usable,
    )


def _facts(scan: LabelledScan, pixels: Pixels, shape: tuple[int, ...]) -> FileFacts:
    """From the file's own header where it is a picture: the reader makes all of them grey."""
    if scan.files.format != "picture":
        return FileFacts(scan.files.format, pixels.value, *shape)
    with on_disk(scan.files) as real:
        header = picture_facts(real.paths[0], scan.name)
    return FileFacts(header.format, header.mode, 1, header.height, header.width)


def _key(scans: Iterable[LabelledScan], most_slices: int) -> str:
    files = [(scan.name, scan.files.stamp()) for scan in scans]
    text = json.dumps([__version__, REVISION, _CACHE, most_slices, files])
    return hashlib.sha256(text.encode()).hexdigest()


def _write_cache(file: Path, seen: Seen) -> None:
    notes = {
        "names": [scan.name for scan in seen.scans],
        "voxels": seen.voxels,
        "facts": seen.facts,
        "without_lungs": seen.without_lungs,
        "dropped": seen.dropped,
    }
    arrays: dict[str, NDArray[Any]] = {"hashes": seen.hashes, **seen.views}
    write_bytes(file, save_arrays(arrays, {"notes": json.dumps(notes)}))


def _read_cache(file: Path, scans: Sequence[LabelledScan]) -> Seen | None:
    if not file.is_file():
        return None
    by_name = {scan.name: scan for scan in scans}
    try:
        with safe_open(file, framework="numpy") as saved:
            notes = json.loads(saved.metadata()["notes"])
            arrays = {name: saved.get_tensor(name) for name in ("hashes", *WIDTHS)}
        return Seen(
            scans=tuple(by_name[name] for name in notes["names"]),
            hashes=arrays.pop("hashes"),
            views=arrays,
            voxels=tuple(notes["voxels"]),
            facts=tuple(FileFacts(*one) for one in notes["facts"]),
            without_lungs=tuple(notes["without_lungs"]),
            dropped=tuple((name, reason) for name, reason in notes["dropped"]),
        )
    except (SafetensorError, KeyError, ValueError, TypeError):
        log.warning("The cache %s is not readable; it is made again.", file.name)
        return None
