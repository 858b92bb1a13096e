"""The books of a run: what is done and what is to do, the journal, and tables made now and then."""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from covidssl.inference.job import Written
from covidssl.inference.journal import (
    ANSWERED,
    FOLDERS,
    Entry,
    Journal,
    done_before,
    read_journal,
    set_aside,
)
from covidssl.inference.sources import Sought
from covidssl.inference.table import write_tables

log = logging.getLogger(__name__)

_TABLES_EVERY_S = 60.0
_TIMES_AS_LONG = 20.0  # as writing the tables took passes before they are written again
_MOST_SHOWN = 20
_PARTS = ".*.part*"


class Books:
    """Keeps what became of every scan; a context, in which the journal is open.

    Attributes:
        todo: the scans that are to be answered.
        entries: what is known of the others, by name.
        order: names of all scans, in the order of the rows.
    """

    def __init__(self, out: Path, sought: Sought, retry_failed: bool = False) -> None:
        """Look what is done already: a scan whose files are as they were is not read again.

        Args:
            out: folder of the run, in which this process is alone.
            sought: all scans.
            retry_failed: read those again that failed.
        """
        remove_leftovers(out)
        self._out, self._passed_over = out, sought.passed_over
        set_aside(out, [scan.name for scan in sought.scans])
        self.entries = done_before(out, sought.stamps(), retry_failed)
        self.order = tuple(scan.name for scan in sought.scans)
        self.todo = tuple(scan for scan in sought.scans if scan.name not in self.entries)
        # Lines of scans that are not among these INPUTs stay: they may come again.
        self._journal = Journal(out, read_journal(out).values())
        self._counts = Counter(str(entry.outcome) for entry in self.entries.values())
        self._written, self._took, self._shown = time.monotonic(), 0.0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._journal.close()

    def keep(self, written: Written) -> None:
        """Write down what became of one scan; now and then also the tables."""
        entry = written.entry
        self._journal.add(entry)
        self.entries[entry.scan] = entry
        self._counts[str(entry.outcome)] += 1
        self._tell(written)
        if time.monotonic() - self._written > max(_TABLES_EVERY_S, _TIMES_AS_LONG * self._took):
            self.write_tables()

    def _tell(self, written: Written) -> None:
        entry = written.entry
        if written.trace:
            log.error("%s: %s: %s", entry.scan, entry.outcome, written.trace)
        elif entry.outcome not in ANSWERED and self._shown < _MOST_SHOWN:
            log.info("%s: %s: %s", entry.scan, entry.outcome, written.text)
            self._shown += 1
            if self._shown == _MOST_SHOWN:
                log.info("Further scans without an answer are in the table alone.")

    def told(self) -> str:
        """How it went so far, in a few words."""
        return ", ".join(f"{count} {outcome}" for outcome, count in sorted(self._counts.items()))

    def in_order(self) -> list[Entry]:
        """What is known, in the order of the rows."""
        return [self.entries[name] for name in self.order if name in self.entries]

    def write_tables(self) -> None:
        """Write the tables of what is done so far.

        Raises:
            CovidsslError: when the disk is full.
        """
        began = time.monotonic()
        write_tables(self._out, self.in_order(), self._passed_over)
        self._written = time.monotonic()
        self._took = self._written - began


def remove_leftovers(out: Path) -> None:
    """Take away files that killed runs left half-written."""
    # Folders of shards are left alone: other processes may be writing them.
    for place in (out, *(out / name for name in FOLDERS)):
        for left in place.glob(_PARTS):
            left.unlink(missing_ok=True)
