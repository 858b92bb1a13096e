"""Every scan of a dataset read once: its views, hashes and file facts, kept in a cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.audit.views import WIDTHS, Floats, views_of
from covidssl.datasets import Dataset, LabelledScan
from covidssl.duplicates import picture_hash, voxels_digest
from covidssl.each_scan import (
    Dropped,
    Kept,
    Progress,
    key_of,
    may_be_kept,
    no_progress,
    read_each,
    read_kept,
    write_kept,
)
from covidssl.errors import DataError
from covidssl.hounsfield import Pixels, to_unit
from covidssl.io import read_scan
from covidssl.io.archive import on_disk
from covidssl.io.picture import picture_facts
from covidssl.lungs import Lungs, segment_lungs
from covidssl.scan_frames import slices_with_lung
from covidssl.splits import Prints
from covidssl.volume import Volume

VERSION = 2  # raise it when the views change


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
    dropped: Dropped

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
    file = cache / f"audit-{key_of(scans, VERSION, most_slices)}.safetensors" if cache else None
    seen = read_kept(file, lambda kept: _from_kept(kept, scans)) if file else None
    if seen is None:
        seen = _seen(scans, most_slices, progress)
        if file and may_be_kept(seen.dropped):
            write_kept(file, _to_keep(seen))
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
    found, dropped = read_each(
        scans, lambda scan: _one(scan, most_slices), "looking at scans", progress
    )
    return Seen(
        scans=tuple(scan for scan, _ in found),
        views={name: np.stack([one.views[name] for _, one in found]) for name in WIDTHS},
        hashes=np.stack([one.hash for _, one in found]),
        voxels=tuple(one.voxels for _, one in found),
        facts=tuple(one.facts for _, one in found),
        without_lungs=tuple(scan.name for scan, one in found if not one.lungs),
        dropped=dropped,
    )


def _one(scan: LabelledScan, most_slices: int) -> _One:
    ct = read_scan(scan.files)
    lungs = segment_lungs(ct)
    slices = slices_with_lung(lungs, most_slices)
    middle = slices[len(slices) // 2]
    return _One(
        views_of_scan(ct, lungs, most_slices),
        picture_hash(to_unit(ct.array[middle], ct.pixels or Pixels.WINDOWED)),
        voxels_digest(ct.array),
        file_facts(scan, ct),
        lungs.usable,
    )


def views_of_scan(ct: Volume, lungs: Lungs, most_slices: int) -> dict[str, Floats]:
    """What trivial models see of a scan: the mean of each view over its slices.

    Args:
        ct: the scan.
        lungs: of the scan; the views that need them are NaN where they are not usable.
        most_slices: slices that are looked at, spread evenly.
    """
    slices = slices_with_lung(lungs, most_slices)
    planes = to_unit(ct.array[slices], ct.pixels or Pixels.WINDOWED)
    masks = np.asarray(lungs.mask.array[slices], np.bool_) if lungs.usable else None
    of_each = [
        views_of(plane, None if masks is None else masks[index])
        for index, plane in enumerate(planes)
    ]
    return {name: np.mean([views[name] for views in of_each], axis=0) for name in WIDTHS}


def file_facts(scan: LabelledScan, ct: Volume) -> FileFacts:
    """From the file's own header where it is a picture: the reader makes all of them grey.

    Raises:
        ScanError: when the header of a picture cannot be read.
    """
    if scan.files.format != "picture":
        pixels = ct.pixels or Pixels.WINDOWED
        slices, height, width = ct.array.shape
        return FileFacts(scan.files.format, pixels.value, slices, height, width)
    with on_disk(scan.files) as real:
        header = picture_facts(real.paths[0], scan.name)
    return FileFacts(header.format, header.mode, 1, header.height, header.width)


def _to_keep(seen: Seen) -> Kept:
    notes = {
        "names": [scan.name for scan in seen.scans],
        "voxels": seen.voxels,
        "facts": seen.facts,
        "without_lungs": seen.without_lungs,
        "dropped": seen.dropped,
    }
    return Kept({"hashes": seen.hashes, **seen.views}, notes)


def _from_kept(kept: Kept, scans: Sequence[LabelledScan]) -> Seen:
    """What the cache holds, with the labels that the scans have now."""
    by_name = {scan.name: scan for scan in scans}
    arrays, notes = kept
    return Seen(
        scans=tuple(by_name[name] for name in notes["names"]),
        views={name: arrays[name] for name in WIDTHS},
        hashes=arrays["hashes"],
        voxels=tuple(notes["voxels"]),
        facts=tuple(FileFacts(*one) for one in notes["facts"]),
        without_lungs=tuple(notes["without_lungs"]),
        dropped=tuple((name, reason) for name, reason in notes["dropped"]),
    )
