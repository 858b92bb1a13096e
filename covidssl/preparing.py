"""Filling a store: every scan found is read, segmented and written, once.

A scan's file is there whole or not at all, so that a stopped `prepare` goes on where it was. No
path outside the store, and nothing from a header but geometry, is written.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covidssl.box import lungs_box
from covidssl.errors import CovidsslError, DataError, ScanError, UsageError
from covidssl.files import write_json
from covidssl.hounsfield import LUNG_WINDOW_HU, Pixels, Window
from covidssl.io import ScanFiles, read_scan
from covidssl.lungs import REVISION, Lungs, segment_lungs
from covidssl.manifest import ManifestRow, write_manifest
from covidssl.scan_file import ScanRecord, read_record, write_scan_file
from covidssl.store import FORMAT, RECORD, UNFINISHED, Store, digest
from covidssl.volume import Volume

log = logging.getLogger(__name__)

_SCANS = "scans"
_BOOKS = {"config.yaml", "log.txt", "record.json"}  # what the run itself writes, before the store


@dataclass(frozen=True)
class StoreOptions:
    """What a store was prepared with.

    Attributes:
        min_lung_share: slices with a smaller lung area / picture area are not listed. At 0.06,
            about one in nine LUNA16 slices is left out, and hardly any of the COVID-19 sets.
        pixels: the caller's word on what the values mean; None to go by each file's format.
        window: the grey scale in HU on which the lungs are told from gas.
    """

    min_lung_share: float = 0.06
    pixels: Pixels | None = None
    window: Window = LUNG_WINDOW_HU

    def as_json(self) -> dict[str, Any]:
        """The options as they stand in `store.json`."""
        return {**asdict(self), "window": list(self.window)}


class StoreWriter:
    """Fills a store scan by scan; what is there already from a stopped run is kept."""

    def __init__(self, folder: Path, options: StoreOptions) -> None:
        self.folder = folder
        self.options = options
        self._rows: dict[str, ManifestRow] = {}

    @classmethod
    def create(
        cls, path: Path, options: StoreOptions | None = None, resume: bool = False
    ) -> StoreWriter:
        """Begin a store in a new or empty folder, or go on with one.

        Raises:
            UsageError: when the folder holds something and `resume` is not set, or when it is no
                store, or one that was begun with other options.
        """
        options = options or StoreOptions()
        begun = {"format": FORMAT, "options": options.as_json()}
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            _check_resumable(path, begun, resume)
        write_json(path / UNFINISHED, begun)
        (path / RECORD).unlink(missing_ok=True)
        return cls(path, options)

    def add(self, scan: ScanFiles) -> ManifestRow:
        """Read, segment and write one scan, unless it is there; failing is a row, not an error.

        Raises:
            CovidsslError: when the disk is full.
        """
        return self.keep(prepare_scan(scan, self.folder, self.options))

    def keep(self, row: ManifestRow) -> ManifestRow:
        """Take the row of a scan that another process prepared with `prepare_scan`."""
        self._rows[row.scan] = row
        return row

    def finish(self) -> Store:
        """Write the manifest and the record, after which the folder is a store, and open it."""
        rows = tuple(self._rows.values())
        scans = {}
        for row in rows:
            if row.stored:
                path = self.folder / row.file
                record = read_record(path, f"{self.folder.name}/{row.file}")
                shares, box = list(record.shares), list(record.box)
                scans[row.scan] = {"shares": shares, "box": box, "bytes": path.stat().st_size}
        for left in (self.folder / _SCANS).glob(".*.part*"):
            left.unlink()
        write_manifest(self.folder, rows)
        options = self.options.as_json()
        content = {"options": options, "scans": scans, "rows": sorted(_contents(rows))}
        fingerprint = digest(json.dumps(content, sort_keys=True))
        whole = {"format": FORMAT, "options": options, "fingerprint": fingerprint, "scans": scans}
        write_json(self.folder / RECORD, whole)
        (self.folder / UNFINISHED).unlink()
        return Store.open(self.folder)


def prepare_scan(scan: ScanFiles, folder: Path, options: StoreOptions) -> ManifestRow:
    """Read, segment and write one scan into a store's folder, unless it is there already.

    Several processes may do this for different scans of one store; `StoreWriter.keep` takes the
    rows.

    Returns:
        The scan's row: a scan that cannot be read or shows too little lung is a row, not an error.

    Raises:
        CovidsslError: when the disk is full.
    """
    key = _key(scan, options)
    file = f"{_SCANS}/{digest(scan.name)[:24]}.safetensors"
    done = _done_before(folder / file, key)
    if done is not None:
        return done
    try:
        ct = read_scan(scan, options.pixels)
        lungs = segment_lungs(ct, options.window)
    except ScanError as error:
        verdict = str(error).removeprefix(f"{scan.name}: ")
        log.warning("%s: failed: %s", scan.name, verdict)
        return ManifestRow(scan.name, "failed", verdict, scan.format)
    except CovidsslError:
        raise
    except Exception as error:  # not foreseen, but no reason to lose the other scans
        log.exception("%s: failed", scan.name)
        verdict = f"unexpected {type(error).__name__}; see log.txt"
        return ManifestRow(scan.name, "failed", verdict, scan.format)
    row = _row(scan, ct, lungs, options, file)
    mask = lungs.mask.array.astype(np.bool_, copy=False)
    box = lungs_box(mask)
    if row.stored and box is not None:
        record = ScanRecord(key, row, _shares(lungs), box)
        write_scan_file(folder / file, ct.array, mask, record)
    else:
        log.info("%s: dropped: %s", scan.name, row.verdict)
    return row


def _row(
    scan: ScanFiles, ct: Volume, lungs: Lungs, options: StoreOptions, file: str
) -> ManifestRow:
    shares = _shares(lungs)
    enough = sum(share >= options.min_lung_share for share in shares)
    if lungs.problem is not None:
        status, verdict = "dropped", lungs.problem
    elif not enough:
        status = "dropped"
        verdict = f"too little lung: {max(shares):.1%} of the best slice is below the store's least"
    else:
        status, verdict = ("warned" if ct.warnings else "ok"), "; ".join(ct.warnings)
    z_mm, y_mm, x_mm = ct.spacing_mm or (None, None, None)
    voxels = int(np.count_nonzero(lungs.mask.array))
    content = f"{ct.pixels} {ct.array.shape} ".encode() + np.ascontiguousarray(ct.array).tobytes()
    return ManifestRow(
        scan=scan.name,
        status=status,
        verdict=verdict,
        format=scan.format,
        pixels=str(ct.pixels),
        slices=ct.array.shape[0],
        height=ct.array.shape[1],
        width=ct.array.shape[2],
        spacing_z_mm=z_mm,
        spacing_y_mm=y_mm,
        spacing_x_mm=x_mm,
        lung_ml=round(voxels * float(np.prod(ct.spacing_mm)) / 1000, 1) if ct.spacing_mm else None,
        slices_with_lung=enough,
        fingerprint=hashlib.sha256(content).hexdigest(),
        file=file if status in ("ok", "warned") else "",
    )


def _shares(lungs: Lungs) -> tuple[float, ...]:
    # Rounded before they are compared, so that the record of a slice and its row never disagree.
    return tuple(round(float(share), 6) for share in lungs.slice_share)


def _key(scan: ScanFiles, options: StoreOptions) -> str:
    # Hashed, so that no path or time of a source file stands in the store.
    made_by = [FORMAT, REVISION]
    return digest(json.dumps([made_by, scan.name, scan.stamp(), options.as_json()]))


def _done_before(path: Path, key: str) -> ManifestRow | None:
    if not path.exists():
        return None
    try:
        record = read_record(path, path.name)
    except DataError:
        return None
    return record.row if record.key == key else None


def _contents(rows: Sequence[ManifestRow]) -> Iterator[str]:
    return (f"{row.scan} {row.fingerprint}" for row in rows if row.stored)


def _check_resumable(path: Path, begun: dict[str, Any], resume: bool) -> None:
    if not resume:
        raise UsageError(f"{path}: exists and is not empty; go on with --resume or choose another.")
    for name in (RECORD, UNFINISHED):
        if path.is_dir() and (path / name).is_file():
            before = json.loads((path / name).read_text(encoding="utf-8"))
            other = [
                f"{key} {before.get('options', {}).get(key)} (now {value})"
                for key, value in begun["options"].items()
                if before.get("options", {}).get(key) != value
            ]
            if other or before.get("format") != FORMAT:
                raise UsageError(
                    f"{path}: was begun with other options: {', '.join(other) or 'another format'}."
                    f" Use the same ones, or choose another folder."
                )
            return
    if not path.is_dir() or {entry.name for entry in path.iterdir()} - _BOOKS:
        raise UsageError(f"{path}: holds something that is no store; choose another folder.")
