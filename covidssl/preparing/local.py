"""Scans in processes of this machine; one that is killed over a scan costs that scan alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from covidssl.io import ScanFiles
from covidssl.preparing.one_scan import Job, failed, prepare_scan
from covidssl.store.record import ScanRecord
from covidssl.worker_processes import KILLED, KILLED_TEXT, in_processes


def on_this_machine(scans: Sequence[ScanFiles], job: Job, workers: int) -> Iterator[ScanRecord]:
    """What became of every scan, as they come out of `workers` processes of one thread each.

    Raises:
        CovidsslError: as `prepare_scan`.
    """
    for scan, record in in_processes(scans, partial(prepare_scan, job=job), workers):
        yield record or failed(scan, job, job.key(scan), KILLED_TEXT, KILLED)
