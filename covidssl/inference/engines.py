"""Where scans are answered: on this machine, or by actors on a Ray cluster."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal

from covidssl.errors import UsageError
from covidssl.inference.ahead import Ahead
from covidssl.inference.job import (
    Job,
    Looked,
    Written,
    killed,
    look,
    look_elsewhere,
    said_of,
    write,
)
from covidssl.io import ScanFiles
from covidssl.prediction import Predictor
from covidssl.worker_processes import KILLED, KILLED_TEXT, in_processes

Kind = Literal["local", "ray"]

_FEW_SCANS = 24
_MOST_PROCESSES = 8


@dataclass(frozen=True)
class Engine:
    """Where scans are answered.

    Attributes:
        kind: `local`, or `ray` for a cluster whose machines share the folders.
        workers: processes that read scans, 0 for a thread of this one; with `ray` actors, of which
            each reads and answers. None: as many as suit the machine and the number of scans.
    """

    kind: Kind = "local"
    workers: int | None = None

    def readers(self, scans: int) -> int:
        """How many processes read so many scans; 0: a thread of this one.

        A process takes seconds to begin, so few scans are read without.
        """
        if self.workers is not None:
            return min(self.workers, scans)
        if scans <= _FEW_SCANS:
            return 0
        return max(1, min(_cores() - 1, _MOST_PROCESSES))


def answered(
    scans: Sequence[ScanFiles], job: Job, predictor: Predictor, engine: Engine
) -> Iterator[Written]:
    """What became of every scan, as they come out; its products are written.

    Raises:
        CovidsslError: for what is wrong with more than one scan: a full disk, a cluster that gave
            up, an engine that is not installed.
    """
    if not scans:
        return
    if engine.kind == "ray":
        try:
            from covidssl.inference.cluster import on_ray
        except ImportError as error:
            raise UsageError(
                f"--engine ray: Ray is not installed ({error}): pip install 'covidssl[ray]'."
            ) from None
        yield from on_ray(scans, job, engine.workers)
    else:
        yield from on_this_machine(scans, job, predictor, engine.readers(len(scans)))


def on_this_machine(
    scans: Sequence[ScanFiles], job: Job, predictor: Predictor, readers: int
) -> Iterator[Written]:
    """Read ahead, ask the networks, and write behind: three steps that overlap.

    Between them one scan waits, so that memory does not grow with the number of scans.
    """
    looked_at = _looked_at(scans, job, predictor, readers)
    behind: deque[Future[Written]] = deque()
    with ThreadPoolExecutor(1, "writer") as writer, Ahead(looked_at) as coming:
        for looked in coming:
            behind.append(writer.submit(write, job, looked, *said_of(looked, predictor)))
            if len(behind) > 1:
                yield behind.popleft().result()
        while behind:
            yield behind.popleft().result()


def _looked_at(
    scans: Sequence[ScanFiles], job: Job, predictor: Predictor, readers: int
) -> Iterator[Looked]:
    if readers == 0:
        for scan in scans:
            yield look(scan, predictor, job.reading)
        return
    for scan, looked in in_processes(scans, partial(look_elsewhere, job=job), readers):
        yield looked or killed(scan, KILLED, KILLED_TEXT)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
