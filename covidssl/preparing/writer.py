"""The folder of a store while it is filled: planned, journalled, finished."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from covidssl import qc
from covidssl.errors import DataError, UsageError
from covidssl.files import write_json
from covidssl.io import Choice, Policy, ScanFiles, choose_series
from covidssl.manifest import NAME as MANIFEST
from covidssl.manifest import ManifestRow, write_manifest
from covidssl.preparing.engines import Engine, records_of
from covidssl.preparing.one_scan import PICTURES, Job
from covidssl.store import FORMAT, RECORD, UNFINISHED, Store
from covidssl.store.index import columns_of, write_index
from covidssl.store.opening import Rows
from covidssl.store.places import LocalPlace
from covidssl.store.record import JOURNAL, SCANS, ScanRecord, fingerprint_of, short_name
from covidssl.store.unfinished import (
    Plan,
    journal_line,
    passed_over,
    rewrite_journal,
    whole_records,
)
from covidssl.store.zarr_scan import remove_parts

log = logging.getLogger(__name__)

# What the run itself writes, before the store.
_BOOKS = {"config.yaml", "log.txt", "record.json"}
_SHOWN = 5


class StoreWriter:
    """Fills a store: `todo` names what is to be read, `keep` takes what came out, then `finish`.

    What is there already, be it from a stopped run or from one with other options, is kept as far
    as reading it again would give the same.

    Attributes:
        job: what every scan is prepared with.
        plan: what was set out to be done.
        todo: the scans that are to be read.
        records: what is known of the others.
    """

    def __init__(self, job: Job, plan: Plan, scans: Sequence[ScanFiles], retry: bool) -> None:
        self.job, self.plan = job, plan
        place = LocalPlace(job.folder)
        self.records = whole_records(place, plan)
        if retry:
            self.records = {
                name: record
                for name, record in self.records.items()
                if record.row.status != "failed"
            }
        self.todo = tuple(scan for scan in scans if scan.name not in self.records)
        self._journal: BinaryIO | None = None

    @classmethod
    def begin(
        cls,
        job: Job,
        scans: Sequence[ScanFiles],
        resume: bool = False,
        retry_failed: bool = False,
        all_series: bool = False,
    ) -> StoreWriter:
        """Begin a store in a new or empty folder, or go on with one.

        Args:
            job: what every scan is prepared with.
            scans: all of them, also those that were prepared before.
            resume: whether the folder may hold a store already; its options may be others.
            retry_failed: read scans again that failed before, though nothing has changed.
            all_series: take every DICOM series, not one of those that share a folder.

        Raises:
            UsageError: when the folder holds something and `resume` is not set, or when it is no
                store, or one of another format.
        """
        _check_resumable(job.folder, resume)
        plan, chosen = planned(job, scans, all_series)
        writer = cls(job, plan, chosen, retry_failed)
        # In this order: until the new plan stands, the store is the old one.
        plan.write(job.folder)
        (job.folder / RECORD).unlink(missing_ok=True)
        rewrite_journal(job.folder, writer.records.values())
        remove_parts(job.folder / SCANS)
        return writer

    def __enter__(self) -> Self:
        self._journal = (self.job.folder / JOURNAL).open("ab")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._journal is not None:
            self._journal.close()

    def keep(self, record: ScanRecord) -> ManifestRow:
        """Take what became of one scan, and write it down."""
        self.records[record.row.scan] = record
        if self._journal is None:
            raise UsageError("a StoreWriter is a context: keep records inside of it.")
        self._journal.write(journal_line(record))
        self._journal.flush()
        row = record.listed(self.job.options.min_lung_share)
        if not row.stored:
            log.info("%s: %s: %s", row.scan, row.status, row.verdict)
        return row

    def finish(self) -> Store:
        """Write manifest, pictures' page, index and record, and open what is a store then.

        Raises:
            DataError: when scans are missing, or the policy is strict and some are defective: the
                manifest is written all the same.
            CovidsslError: when the disk is full.
        """
        folder, options = self.job.folder, self.job.options
        absent = [name for name in self.plan.keys if name not in self.records]
        if absent:
            raise DataError(f"{folder.name}: {len(absent)} scans are not prepared yet.")
        rows = self.plan.rows(self.records)
        remove_parts(folder / SCANS)
        write_manifest(folder, rows)
        _write_pictures_page(folder, rows)
        if options.policy is Policy.STRICT:
            _refuse_defective(folder, rows)
        listed = self.plan.listed(self.records)
        fingerprint = fingerprint_of(listed, options.min_lung_share)
        rewrite_journal(folder, (self.records[name] for name in self.plan.keys))
        write_index(folder, columns_of(listed, options.min_lung_share), fingerprint)
        whole = {
            "format": FORMAT,
            "options": options.as_json(),
            "fingerprint": fingerprint,
            "scans": len(rows),
            "scans_listed": len(listed),
        }
        write_json(folder / RECORD, whole)
        (folder / UNFINISHED).unlink()
        store = Store.open(folder)
        store.rows = Rows(rows)
        return store


def prepare_store(
    job: Job,
    scans: Sequence[ScanFiles],
    resume: bool = False,
    engine: Engine | None = None,
    seen: Callable[[Iterable[ScanRecord], int], Iterable[ScanRecord]] | None = None,
) -> Store:
    """Prepare scans into a store and open it.

    Args:
        job: folder, options.
        scans: from `find_scans`.
        resume: go on with what is in the folder.
        engine: where the scans are read; None: here, one after another.
        seen: shows the progress of so many records.

    Raises:
        CovidsslError: as `StoreWriter.begin`, `prepare_scan` and `StoreWriter.finish`.
    """
    writer = StoreWriter.begin(job, scans, resume)
    return fill(writer, engine or Engine(), seen)


def fill(
    writer: StoreWriter,
    engine: Engine,
    seen: Callable[[Iterable[ScanRecord], int], Iterable[ScanRecord]] | None = None,
) -> Store:
    """Read what a writer has to do, and finish its store."""
    with writer:
        records: Iterable[ScanRecord] = records_of(writer.todo, writer.job, engine)
        for record in seen(records, len(writer.todo)) if seen else records:
            writer.keep(record)
    return writer.finish()


def planned(
    job: Job, scans: Sequence[ScanFiles], all_series: bool = False
) -> tuple[Plan, tuple[ScanFiles, ...]]:
    """What is to be done with these scans, and those of them that are to be read."""
    choice = Choice(tuple(scans), ()) if all_series else choose_series(scans)
    rows = tuple(passed_over(scan.name, why, scan.format) for scan, why in choice.passed_over)
    keys = {scan.name: job.key(scan) for scan in choice.scans}
    order = tuple(scan.name for scan in scans)
    return Plan(job.options.as_json(), keys, order, rows), choice.scans


def _write_pictures_page(folder: Path, rows: Sequence[ManifestRow]) -> None:
    paths = {row.scan: folder / PICTURES / f"{short_name(row.scan)}.png" for row in rows}
    qc.write_page(folder, rows, {scan: path for scan, path in paths.items() if path.is_file()})


def _refuse_defective(folder: Path, rows: Sequence[ManifestRow]) -> None:
    defective = [row for row in rows if row.status == "failed"]
    if not defective:
        return
    shown = " ".join(f"{row.scan}: {row.verdict}" for row in defective[:_SHOWN])
    more = f" And {len(defective) - _SHOWN} more." if len(defective) > _SHOWN else ""
    raise DataError(
        f"{folder.name}: policy=strict, and {len(defective)} of {len(rows)} scans are defective "
        f"({MANIFEST} lists them): {shown}{more} Mend or remove them, or go on with --resume "
        f"--set policy=skip (leaves them out) or --set policy=repair."
    )


def _check_resumable(path: Path, resume: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        path.mkdir(parents=True, exist_ok=True)
        return
    if not resume:
        raise UsageError(f"{path}: exists and is not empty; go on with --resume or choose another.")
    for name in (RECORD, UNFINISHED):
        if path.is_dir() and (path / name).is_file():
            try:
                before = json.loads((path / name).read_text(encoding="utf-8")).get("format")
            except (ValueError, AttributeError):
                before = FORMAT  # damaged: it is written anew
            if before != FORMAT:
                raise UsageError(
                    f"{path}: holds a store of format {before}, and this version writes {FORMAT}. "
                    f"Prepare into another folder, or start again with --overwrite."
                )
            return
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else {path.name}
    if names - _BOOKS:
        raise UsageError(f"{path}: holds something that is no store; choose another folder.")
