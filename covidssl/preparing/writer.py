"""The folder of a store while it is filled: planned, journalled, finished."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from covidssl import qc
from covidssl.counting import counted
from covidssl.errors import DataError, UsageError
from covidssl.files import write_json
from covidssl.io import Choice, Policy, ScanFiles, choose_series
from covidssl.manifest import NAME as MANIFEST
from covidssl.manifest import ManifestRow, write_manifest
from covidssl.preparing.engines import Engine, records_of
from covidssl.preparing.folder import alone_filling, checked, remove_leftovers, remove_unowned
from covidssl.preparing.one_scan import PICTURES, Job
from covidssl.store import FORMAT, RECORD, UNFINISHED, Store, group_of
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
from covidssl.store.zarr_scan import record_on_disk, remove_parts

log = logging.getLogger(__name__)

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
        self._open = ExitStack()

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
                store, or one of another format; or when another process is filling it.
        """
        before = checked(job.folder, resume)
        with alone_filling(job.folder):
            if job.lungs_folder is None and before.get("options", {}).get("lungs") == "given":
                log.warning("The store was made with --lungs, and now lungs are found without.")
            remove_leftovers(job.folder)
            plan, chosen = planned(job, scans, all_series)
            writer = cls(job, plan, chosen, retry_failed)
            # In this order: until the new plan stands, the store is the old one.
            plan.write(job.folder)
            (job.folder / RECORD).unlink(missing_ok=True)
            rewrite_journal(job.folder, writer.records.values())
            remove_parts(job.folder / SCANS)
        return writer

    def __enter__(self) -> Self:
        self._open.enter_context(alone_filling(self.job.folder))
        self._journal = self._open.enter_context((self.job.folder / JOURNAL).open("ab"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

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
            DataError: when scans are missing or were changed by another process, or the policy is
                strict and some are defective: the manifest is written all the same.
            CovidsslError: when the disk is full.
        """
        folder, options = self.job.folder, self.job.options
        absent = [name for name in self.plan.keys if name not in self.records]
        if absent:
            raise DataError(f"{folder.name}: not prepared yet: {counted(len(absent), 'scan')}.")
        if self._journal is not None:
            self._journal.close()  # where it is open, some systems cannot replace it
        self._refuse_changed()
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
            "options": self.job.as_json(),
            "fingerprint": fingerprint,
            "scans": len(rows),
            "scans_listed": len(listed),
        }
        write_json(folder / RECORD, whole)
        remove_unowned(folder, (row.scan for row in rows), self.records.values())
        (folder / UNFINISHED).unlink()
        store = Store.open(folder)
        store.rows = Rows(rows)
        return store

    def _refuse_changed(self) -> None:
        """Forget records whose groups are no longer what was recorded, and refuse to list them."""
        folder = self.job.folder
        kept = [record for record in self.records.values() if record.kept]
        changed = [
            record.row.scan
            for record in kept
            if _content(record_on_disk(folder / group_of(record.row.scan))) != _content(record)
        ]
        if not changed:
            return
        for name in changed:
            del self.records[name]
        rewrite_journal(folder, self.records.values())
        raise DataError(
            f"{folder.name}: while it was prepared, another process changed "
            f"{counted(len(changed), 'scan')}, such as '{changed[0]}'. Let one process alone write "
            f"into the folder, and go on with --resume."
        )


def _content(record: ScanRecord | None) -> tuple[object, ...]:
    if record is None:
        return ()
    return record.key, record.sizes, record.mask, record.row.fingerprint


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
    return Plan(job.as_json(), keys, order, rows), choice.scans


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
