"""What preparing would take, from a few scans that are read for it; nothing is kept of them."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from covidssl.files import free_disk_bytes
from covidssl.io import ScanFiles
from covidssl.preparing.one_scan import Job, prepare_scan
from covidssl.preparing.writer import planned
from covidssl.store.places import LocalPlace
from covidssl.store.unfinished import whole_records

_TRIED = 3


@dataclass(frozen=True)
class Estimate:
    """What preparing would take.

    Attributes:
        formats: how many scans of each format were found.
        passed_over: series that another one of their folder would be taken for.
        there: scans that the folder holds already, and that would not be read again.
        to_read: scans that would be read.
        tried: how many of those were read for this estimate.
        seconds: of reading them all with so many workers; None where none was tried.
        disk_bytes: that they would take, likewise.
        free_bytes: on the disk where the store would lie.
    """

    formats: dict[str, int]
    passed_over: int
    there: int
    to_read: int
    tried: int
    seconds: float | None
    disk_bytes: int | None
    free_bytes: int


def estimated(
    job: Job, scans: Sequence[ScanFiles], workers: int = 1, all_series: bool = False
) -> Estimate:
    """Read a few scans of each format aside, and reckon from them.

    Raises:
        CovidsslError: when lungs cannot be found as the options say, or the disk is full.
    """
    plan, chosen = planned(job, scans, all_series)
    there = whole_records(LocalPlace(job.folder), plan)
    todo = [scan for scan in chosen if scan.name not in there]
    formats = Counter(scan.format for scan in todo)
    tried, seconds, size = 0, 0.0, 0.0
    for name, count in formats.items():
        spent = _measured([scan for scan in todo if scan.format == name], job)
        tried += len(spent)
        seconds += count * float(np.mean([took for took, _ in spent]))
        size += count * float(np.mean([took for _, took in spent]))
    return Estimate(
        formats=dict(Counter(scan.format for scan in scans)),
        passed_over=len(plan.passed_over),
        there=len(there),
        to_read=len(todo),
        tried=tried,
        seconds=seconds / workers if tried else None,
        disk_bytes=round(size) if tried else None,
        free_bytes=free_disk_bytes(job.folder),
    )


def _measured(scans: Sequence[ScanFiles], job: Job) -> list[tuple[float, int]]:
    """Seconds and bytes of some scans spread over these."""
    places = np.unique(np.linspace(0, len(scans) - 1, _TRIED).round().astype(int))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, place in enumerate(places.tolist()):
            aside = Path(folder) / str(number)
            began = time.perf_counter()
            prepare_scan(scans[place], replace(job, folder=aside))
            took = time.perf_counter() - began
            size = sum(path.stat().st_size for path in aside.rglob("*") if path.is_file())
            found.append((took, size))
            shutil.rmtree(aside, ignore_errors=True)
    return found
