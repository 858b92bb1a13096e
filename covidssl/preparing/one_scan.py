"""One scan, from its files to its group in the store and a record of what became of it."""

from __future__ import annotations

import hashlib
import json
import traceback
from array import array
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from covidssl import qc
from covidssl.box import lungs_box
from covidssl.errors import CovidsslError, ScanError
from covidssl.files import write_bytes
from covidssl.hounsfield import LUNG_WINDOW_HU, Pixels, Window
from covidssl.io import Policy, Reading, ScanFiles, find_scans, read_scan
from covidssl.lungs import REVISION, Lungs, given_lungs, mask_names, segment_lungs
from covidssl.manifest import ManifestRow
from covidssl.pseudonyms import Pseudonyms
from covidssl.store.record import FORMAT, ScanRecord, digest, group_of, short_name
from covidssl.store.zarr_scan import record_on_disk, remove_scan, write_scan
from covidssl.volume import Volume

LungMethod = Literal["threshold", "lungmask"]
PICTURES = "qc"


@dataclass(frozen=True)
class StoreOptions:
    """What a store is prepared with.

    Attributes:
        min_lung_share: slices with a smaller lung area / picture area are not listed. At 0.06,
            about one in nine LUNA16 slices is left out, and hardly any of the COVID-19 sets.
        pixels: the caller's word on what the values mean; None to go by each file's format.
        window: the grey scale in HU on which the lungs are told from gas.
        policy: what to do with defective scans.
        lungs: how the lungs are found, where no masks are given.
    """

    min_lung_share: float = 0.06
    pixels: Pixels | None = None
    window: Window = LUNG_WINDOW_HU
    policy: Policy = Policy.SKIP
    lungs: LungMethod = "threshold"

    def as_json(self) -> dict[str, Any]:
        """The options as they stand in `store.json`."""
        return {
            "min_lung_share": self.min_lung_share,
            "pixels": None if self.pixels is None else str(self.pixels),
            "window": list(self.window),
            "policy": str(self.policy),
            "lungs": self.lungs,
        }


@dataclass(frozen=True)
class Job:
    """What every scan of a store is prepared with.

    Attributes:
        folder: of the store.
        options: of the store.
        ids: gives pseudonyms of patients and series; None: they are not read.
        lungs_folder: holds lung masks that the user has; None: they are found.
    """

    folder: Path
    options: StoreOptions = StoreOptions()
    ids: Pseudonyms | None = None
    lungs_folder: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """The options as they stand in `store.json`."""
        options = self.options.as_json()
        return options if self.lungs_folder is None else {**options, "lungs": "given"}

    def key(self, scan: ScanFiles) -> str:
        """Hash of all that a scan's voxels, mask and identifiers depend on, but the policy."""
        # Hashed, so that no path or time of a source file stands in the store.
        options = {**self.as_json(), "min_lung_share": None, "policy": None}
        who = None
        if self.ids is not None:
            who = [self.ids.of("key", "key"), self.ids.keep_ids]
        made_by = [FORMAT, REVISION, who, scan.name, scan.stamp()]
        return digest(json.dumps([made_by, options, self._masks_of(scan)]))[:32]

    def _masks_of(self, scan: ScanFiles) -> list[str] | None:
        """What changes with the files that may be the scan's given mask, their voxels' included."""
        if self.lungs_folder is None:
            return None
        paths = [self.lungs_folder / name for name in dict.fromkeys(mask_names(scan.name))]
        there = [path for path in paths if path.is_file()]
        return [mask.stamp() for path in there for mask in find_scans([path]).scans]


def prepare_scan(scan: ScanFiles, job: Job) -> ScanRecord:
    """Read, segment and write one scan into a store's folder, unless it is there already.

    Several processes and machines may do this for different scans of one store, or for the same.

    Returns:
        What became of it: that it cannot be read or shows no lung is a record, not an error.

    Raises:
        CovidsslError: when the disk is full, or lungs cannot be found as the options say.
    """
    key, policy = job.key(scan), str(job.options.policy)
    done = record_on_disk(job.folder / group_of(scan.name))
    if done is not None and done.serves(key, policy):
        return done
    # First, so that a group never stands beside the picture of another mask.
    remove_scan(job.folder / group_of(scan.name))
    try:
        return _prepared(scan, job, key)
    except ScanError as error:
        return failed(scan, job, key, str(error), error.code)
    except CovidsslError:
        raise
    except Exception as error:  # not foreseen, but no reason to lose the other scans
        # Its text may hold anything of the file; where it happened does not.
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}"
        text = f"unexpected {type(error).__name__} ({where}); please report it"
        return failed(scan, job, key, text, "unexpected")


def failed(scan: ScanFiles, job: Job, key: str, text: str, code: str) -> ScanRecord:
    """The record of a scan that could not be read."""
    verdict = text.removeprefix(f"{scan.name}: ")
    row = ManifestRow(scan.name, "failed", verdict, scan.format, code)
    return ScanRecord(key, row, str(job.options.policy))


def _prepared(scan: ScanFiles, job: Job, key: str) -> ScanRecord:
    options = job.options
    ct = read_scan(scan, Reading(options.pixels, options.policy, job.ids))
    try:
        lungs = _lungs(ct, job)
    except ScanError:
        _write_picture(job.folder, scan, qc.thumbnail(ct, None))
        raise
    # The picture first: a group that is there has its picture.
    _write_picture(job.folder, scan, qc.thumbnail(ct, lungs))
    mask = lungs.mask.array.astype(np.bool_, copy=False)
    shares = array("d", (round(float(share), 6) for share in lungs.slice_share))
    record = ScanRecord(key, _row(scan, ct, lungs), str(options.policy), shares)
    if not record.row.stored:
        return record
    record = replace(
        record,
        row=replace(record.row, file=group_of(scan.name)),
        box=lungs_box(mask),
        mask=hashlib.sha256(np.packbits(mask, axis=-1).tobytes()).hexdigest(),
    )
    return write_scan(job.folder / record.row.file, ct.array, mask, record)


def _lungs(ct: Volume, job: Job) -> Lungs:
    if job.lungs_folder is not None:
        return given_lungs(ct, job.lungs_folder)
    return segment_lungs(ct, job.options.window, job.options.lungs)


def _write_picture(folder: Path, scan: ScanFiles, png: bytes) -> None:
    write_bytes(folder / PICTURES / f"{short_name(scan.name)}.png", png)


def _row(scan: ScanFiles, ct: Volume, lungs: Lungs) -> ManifestRow:
    if lungs.problem is not None:
        status, verdict, code = "dropped", lungs.problem, "no_lungs"
    elif lungs.flags:
        status, verdict = "flagged", lungs.complaint or ""
        code = ";".join(dict.fromkeys(flag.code for flag in lungs.flags))
    else:
        status = "repaired" if ct.repairs else "warned" if ct.warnings else "ok"
        verdict, code = "; ".join(ct.warnings), ""
    z_mm, y_mm, x_mm = ct.spacing_mm or (None, None, None)
    litres, left_right = lungs.litres, lungs.left_right
    content = f"{ct.pixels} {ct.array.shape} ".encode() + np.ascontiguousarray(ct.array).tobytes()
    return ManifestRow(
        scan=scan.name,
        status=status,
        verdict=verdict,
        format=scan.format,
        code=code,
        repairs="; ".join(ct.repairs),
        pixels=str(ct.pixels),
        slices=ct.array.shape[0],
        height=ct.array.shape[1],
        width=ct.array.shape[2],
        spacing_z_mm=z_mm,
        spacing_y_mm=y_mm,
        spacing_x_mm=x_mm,
        lung_ml=None if litres is None else round(litres * 1000, 1),
        left_right=None if left_right is None else round(left_right, 3),
        patient=ct.patient,
        series=ct.series,
        fingerprint=hashlib.sha256(content).hexdigest(),
    )
