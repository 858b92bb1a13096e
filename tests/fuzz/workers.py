"""Bounded worker processes, each of which takes many cases: a dead or hanging one is a finding."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from tests.fuzz.reading import Case, Outcome, run

MEMORY_BYTES = 2 * 2**30
SECONDS = 10
_CASES_AT_ONCE = 200


@dataclass
class Report:
    """How many cases came out how, and those that should not have."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[tuple[Case, Outcome]] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return sum(self.counts.values())

    def add(self, case: Case, outcome: Outcome) -> None:
        self.counts[case.format, outcome.kind] += 1
        if outcome.failed:
            self.failures.append((case, outcome))


def run_all(
    cases: Sequence[Case],
    workers: int = 2,
    most_failures: int = 50,
    watch: Callable[[Report], None] | None = None,
) -> Report:
    """Run cases in worker processes, until all are done or there are enough failures.

    Args:
        cases: to be run, in about this order.
        workers: how many processes.
        most_failures: after which the rest is left out.
        watch: told the report so far, now and then.
    """
    report = Report()
    parts = [cases[at : at + _CASES_AT_ONCE] for at in range(0, len(cases), _CASES_AT_ONCE)]
    parts.reverse()
    busy: dict[Connection, _Worker] = {}
    # A worker that dies leaves its files behind: they lie in a folder that is not its own.
    room = tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True)
    try:
        while parts or busy:
            while parts and len(busy) < workers:
                worker = _Worker(parts.pop(), room.name)
                busy[worker.connection] = worker
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                worker = busy.pop(ready)
                left = worker.collect(report)
                if left is None:
                    busy[ready] = worker
                elif left:
                    parts.append(left)
            if watch is not None:
                watch(report)
            if len(report.failures) >= most_failures:
                break
    finally:
        for worker in busy.values():
            worker.stop()
        room.cleanup()
    return report


class _Worker:
    def __init__(self, cases: Sequence[Case], folder: str) -> None:
        # A server that has all libraries loaded forks the workers: they start at once.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.fuzz.warm"])
        self.connection, theirs = context.Pipe(duplex=False)
        self._cases = cases
        self._done = 0
        self._process = context.Process(
            target=_work, args=(cases, theirs, SECONDS, folder), daemon=True
        )
        self._process.start()
        theirs.close()

    def collect(self, report: Report) -> Sequence[Case] | None:
        """Take what the worker sent; gives the cases that are left when it is gone, else None."""
        try:
            for outcome in self.connection.recv():
                report.add(self._cases[self._done], outcome)
                self._done += 1
            return None
        except EOFError:
            self._process.join()
        self.connection.close()
        if self._done == len(self._cases):
            return []
        code = self._process.exitcode
        kind = "hang" if code == -signal.SIGALRM else "death"
        report.add(self._cases[self._done], Outcome(kind, f"the worker ended with {code}"))
        return self._cases[self._done + 1 :]

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


def _work(cases: Iterable[Case], connection: Any, seconds: int, folder: str) -> None:
    logging.disable(logging.CRITICAL)
    tempfile.tempdir = folder
    # What C++ libraries print on their way to an error would drown the report.
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # Left to the system, so that it ends a loop in compiled code too.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for case in cases:
        signal.alarm(seconds)
        outcome = run(case)
        signal.alarm(0)
        connection.send([outcome])
    connection.close()
