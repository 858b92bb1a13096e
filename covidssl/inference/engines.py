"""Where scans are answered: on this machine, or by actors on a Ray cluster."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from threading import Event
from typing import Literal

from covidssl.errors import UsageError
from covidssl.inference.ahead import Ahead
from covidssl.inference.job import (
    Job,
    Looked,
    Written,
    ended,
    look,
    look_elsewhere,
    said_of,
    write,
)
from covidssl.io import ScanFiles
from covidssl.prediction import Predictor
from covidssl.worker_processes import KILLED, KILLED_TEXT, Limit, in_processes

Kind = Literal["local", "ray"]

TOO_LONG = "too_long"

_FEW_SCANS = 24
_MOST_PROCESSES = 8


@dataclass(frozen=True)
class Engine:
    """Where scans are answered.

    Attributes:
        kind: `local`, or `ray` for a cluster whose machines share the folders.
        workers: processes that read scans, 0 for a thread of this one; with `ray` actors, of which
            each reads and answers. None: as many as suit the machine and the number of scans.
        limit_s: seconds after which a process of this machine gives a scan up; None: never. A
            thread or an actor cannot be ended over a scan, and has no limit.
    """

    kind: Kind = "local"
    workers: int | None = None
    limit_s: float | None = 600.0

    def check(self) -> None:
        """Refuse an engine that is not installed.

        Raises:
            UsageError: without Ray.
        """
        if self.kind == "ray" and find_spec("ray") is None:
            raise UsageError("--engine ray: Ray is not installed: pip install 'covidssl[ray]'.")

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
    scans: Sequence[ScanFiles],
    job: Job,
    predictor: Predictor,
    engine: Engine,
    stops: Callable[[], bool] = lambda: False,
) -> Iterator[Written]:
    """What became of every scan, as they come out; its products are written.

    Args:
        scans: to answer.
        job: how.
        predictor: the models, for scans that are answered in this process.
        engine: where.
        stops: whether to come to an end early, asked again and again.

    Raises:
        CovidsslError: for what is wrong with more than one scan: a full disk, a cluster that gave
            up, an engine that is not installed.
    """
    engine.check()
    if not scans:
        return
    if engine.kind == "ray":
        from covidssl.inference.cluster import on_ray

        for written in on_ray(scans, job, engine.workers):
            yield written
            if stops():
                return
    else:
        yield from on_this_machine(scans, job, predictor, engine, stops)


def on_this_machine(
    scans: Sequence[ScanFiles],
    job: Job,
    predictor: Predictor,
    engine: Engine,
    stops: Callable[[], bool],
) -> Iterator[Written]:
    """Read ahead, ask the networks, and write behind: three steps that overlap.

    Between them one scan waits, so that memory does not grow with the number of scans.
    """
    left = Event()
    limit = Limit(engine.limit_s, partial(_given_up, job, engine), lambda: left.is_set() or stops())
    looked_at = _looked_at(scans, job, predictor, engine.readers(len(scans)), limit)
    behind: deque[Future[Written]] = deque()
    with ThreadPoolExecutor(1, "writer") as writer, Ahead(looked_at, stops=stops) as coming:
        try:
            for looked in coming:
                behind.append(writer.submit(write, job, looked, *said_of(looked, predictor)))
                if len(behind) > 1:
                    yield behind.popleft().result()
            while behind:
                yield behind.popleft().result()
        finally:
            left.set()


def _looked_at(
    scans: Sequence[ScanFiles],
    job: Job,
    predictor: Predictor,
    readers: int,
    limit: Limit[ScanFiles, Looked],
) -> Iterator[Looked]:
    if readers == 0:
        for scan in scans:
            yield look(scan, predictor, job.reading)
        return
    for scan, looked in in_processes(scans, partial(look_elsewhere, job=job), readers, limit):
        yield looked or ended(scan, job, KILLED, KILLED_TEXT)


def _given_up(job: Job, engine: Engine, scan: ScanFiles) -> Looked:
    text = (
        f"reading it took more than {engine.limit_s:g} s, and was given up. Give it longer with "
        f"--scan-timeout, and --retry-failed."
    )
    return ended(scan, job, TOO_LONG, text)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
