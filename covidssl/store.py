"""A store of prepared scans on disk: what training reads, and nothing else.

A store is a folder: `store.json` (options and fingerprint, written last), `manifest.csv` (a row for
every scan found) and `scans/`, one safetensors file a scan with its voxels and its lung mask.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.hounsfield import Pixels
from covidssl.manifest import ManifestRow, read_manifest
from covidssl.scan_file import (
    Box,
    open_scan_file,
    read_plane,
)

FORMAT = 1
RECORD, UNFINISHED = "store.json", "unfinished.json"
_OPEN_FILES = 64


class SlicePixels(NamedTuple):
    """One slice: `array` (Y, X) int16 HU or uint8 grey values, and `lungs` (Y, X) bool."""

    array: NDArray[Any]
    lungs: NDArray[np.bool_]


@dataclass(frozen=True)
class StoredSlice:
    """Where one slice lies, and what is known of it without reading it.

    Attributes:
        scan: the scan's name.
        index: the slice's place in the scan, counted from the feet.
        lung_share: lung area / picture area.
        box: (top, bottom, left, right) of the lungs over the whole scan, in pixels, ends excluded.
        spacing_mm: pixel size (y, x), or None where not known.
        pixels: what the values mean.
    """

    scan: str
    index: int
    lung_share: float
    box: Box
    spacing_mm: tuple[float, float] | None
    pixels: Pixels


class Store:
    """A prepared store, for reading slices one at a time.

    Attributes:
        manifest: a row for every scan that was found.
        slices: the slices with enough lung, in order of scan and place.
        fingerprint: changes with any voxel, mask or option.
    """

    def __init__(
        self,
        folder: Path,
        manifest: tuple[ManifestRow, ...],
        slices: tuple[StoredSlice, ...],
        fingerprint: str,
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.slices = slices
        self.fingerprint = fingerprint
        self._files = {row.scan: row.file for row in manifest if row.stored}
        self._open: OrderedDict[str, Any] = OrderedDict()

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a finished store.

        Raises:
            DataError: when `path` is no store, an unfinished one, or one with missing files.
        """
        record = _record(path)
        manifest = read_manifest(path)
        scans = record["scans"]
        for row in manifest:
            if row.stored:
                _check_file(path, row, scans.get(row.scan))
        slices = tuple(
            stored
            for row in manifest
            if row.stored
            for stored in _slices(row, scans[row.scan], record["options"]["min_lung_share"])
        )
        return cls(path, manifest, slices, record["fingerprint"])

    @property
    def pixels(self) -> Pixels:
        """The one kind of pixel that the store holds.

        Raises:
            DataError: when it holds both kinds: choose with `of_kind`.
        """
        kinds = sorted({stored.pixels for stored in self.slices})
        if len(kinds) != 1:
            held = " and ".join(kinds) if kinds else "no slices at all"
            raise DataError(
                f"{self.folder.name}: holds {held}; training needs one kind of pixel. "
                f"Prepare the scans of each kind into a store of their own."
            )
        return kinds[0]

    @property
    def slices_dropped(self) -> int:
        """How many slices were read but are not listed, since they show too little lung."""
        read = sum(row.slices or 0 for row in self.manifest)
        return read - sum(row.slices_with_lung or 0 for row in self.manifest if row.stored)

    def of_kind(self, pixels: Pixels) -> Store:
        """The same store with the scans of one kind of pixel alone."""
        rows = tuple(row for row in self.manifest if row.pixels in ("", pixels))
        slices = tuple(stored for stored in self.slices if stored.pixels is pixels)
        return Store(self.folder, rows, slices, digest(f"{self.fingerprint} {pixels}"))

    def read(self, stored: StoredSlice) -> SlicePixels:
        """The voxels and lungs of one slice; the rest of the scan is not read.

        Raises:
            DataError: when the store does not hold it, or its file is gone.
        """
        return SlicePixels(*read_plane(self._file(stored.scan), stored.index))

    def _file(self, scan: str) -> Any:
        if scan in self._open:
            self._open.move_to_end(scan)
            return self._open[scan]
        name = self._files.get(scan)
        if name is None:
            raise DataError(f"{self.folder.name}: holds no scan '{scan}'.")
        self._open[scan] = open_scan_file(self.folder / name, f"{self.folder.name}/{name}")
        while len(self._open) > _OPEN_FILES:
            self._open.popitem(last=False)
        return self._open[scan]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}


def _slices(row: ManifestRow, scan: Mapping[str, Any], least: float) -> Iterator[StoredSlice]:
    top, bottom, left, right = scan["box"]
    known = row.spacing_y_mm is not None and row.spacing_x_mm is not None
    spacing = (row.spacing_y_mm or 0.0, row.spacing_x_mm or 0.0) if known else None
    for index, share in enumerate(scan["shares"]):
        if share >= least:
            box = (top, bottom, left, right)
            yield StoredSlice(row.scan, index, share, box, spacing, Pixels(row.pixels))


def _record(path: Path) -> dict[str, Any]:
    if not (path / RECORD).is_file():
        if (path / UNFINISHED).is_file():
            raise DataError(f"{path}: an unfinished store; run prepare with --resume to finish it.")
        raise DataError(f"{path}: is no prepared store (no {RECORD}); make one with prepare.")
    try:
        record: dict[str, Any] = json.loads((path / RECORD).read_text(encoding="utf-8"))
    except ValueError:
        raise DataError(f"{path}/{RECORD}: is damaged; run prepare with --resume.") from None
    if record.get("format") != FORMAT:
        raise DataError(
            f"{path}: store format {record.get('format')}, this version reads {FORMAT}. "
            f"Prepare the scans again."
        )
    return record


def _check_file(folder: Path, row: ManifestRow, scan: Mapping[str, Any] | None) -> None:
    path = folder / row.file
    if scan is None or not path.is_file() or path.stat().st_size != scan["bytes"]:
        raise DataError(
            f"{folder.name}: the file of scan '{row.scan}' ({row.file}) is missing or not whole. "
            f"Run prepare with --resume."
        )


def digest(text: str) -> str:
    """SHA-256 of a text, as hexadecimal text."""
    return hashlib.sha256(text.encode()).hexdigest()
