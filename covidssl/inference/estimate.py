"""What answering would take, from a few scans that are answered aside; nothing is kept of them."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from covidssl.files import free_disk_bytes
from covidssl.inference.engines import Engine
from covidssl.inference.job import Job, look, said_of, write
from covidssl.inference.journal import done_before
from covidssl.inference.sources import Sought
from covidssl.io import ScanFiles
from covidssl.prediction import Predictor

_TRIED = 3


@dataclass(frozen=True)
class Estimate:
    """What answering would take.

    Attributes:
        formats: how many scans of each format were found.
        passed_over: series that another one of their folder would be taken for.
        there: scans that were answered already, and would not be read again.
        to_answer: scans that would be read.
        tried: how many of those were answered for this estimate.
        seconds: of answering them all; None where none was tried.
        disk_bytes: that their products would take, likewise.
        free_bytes: on the disk where the output would lie.
    """

    formats: dict[str, int]
    passed_over: int
    there: int
    to_answer: int
    tried: int
    seconds: float | None
    disk_bytes: int | None
    free_bytes: int


@dataclass(frozen=True)
class _Cost:
    looking: float = 0.0
    rest: float = 0.0
    size: float = 0.0

    def plus(self, times: int, one: _Cost) -> _Cost:
        return _Cost(
            self.looking + times * one.looking,
            self.rest + times * one.rest,
            self.size + times * one.size,
        )


def estimated(
    sought: Sought,
    job: Job,
    predictor: Predictor,
    engine: Engine,
    retry_failed: bool = False,
    afresh: bool = False,
) -> Estimate:
    """Answer a few scans of each format aside, and reckon from them.

    Args:
        sought: all scans.
        job: how they would be answered.
        predictor: the models.
        engine: where they would be answered.
        retry_failed: those that failed would be read again.
        afresh: what is there would not be gone on with.

    Raises:
        CovidsslError: when the disk is full.
    """
    there = {} if afresh else done_before(job.out, sought.stamps(), retry_failed)
    todo = [scan for scan in sought.scans if scan.name not in there]
    total, tried = _Cost(), 0
    for name, count in Counter(scan.format for scan in todo).items():
        costs = _measured([scan for scan in todo if scan.format == name], job, predictor)
        tried += len(costs)
        mean = _Cost(*np.mean([[one.looking, one.rest, one.size] for one in costs], axis=0))
        total = total.plus(count, mean)
    return Estimate(
        formats=dict(Counter(scan.format for scan in sought.scans)),
        passed_over=len(sought.passed_over),
        there=len(there),
        to_answer=len(todo),
        tried=tried,
        seconds=_overlapped(total, engine, len(todo)) if tried else None,
        disk_bytes=round(total.size) if tried else None,
        free_bytes=free_disk_bytes(job.out),
    )


def _overlapped(total: _Cost, engine: Engine, scans: int) -> float:
    """Seconds: reading runs beside the networks, or all of it in so many actors."""
    if engine.kind == "ray":
        return (total.looking + total.rest) / (engine.workers or 1)
    return max(total.looking / max(1, engine.readers(scans)), total.rest)


def _measured(scans: Sequence[ScanFiles], job: Job, predictor: Predictor) -> list[_Cost]:
    """What some scans cost that are spread over these."""
    places = np.unique(np.linspace(0, len(scans) - 1, _TRIED).round().astype(int))
    found = []
    for place in places.tolist():
        with tempfile.TemporaryDirectory(prefix="covidssl-") as folder:
            aside = replace(job, out=Path(folder))
            looked = look(scans[place], predictor, job.reading)
            began = time.perf_counter()
            write(aside, looked, *said_of(looked, predictor))
            rest = time.perf_counter() - began
            size = sum(path.stat().st_size for path in aside.out.rglob("*") if path.is_file())
            found.append(_Cost(looked.seconds, rest, size))
    return found
