"""Scans in processes of this machine; one that is killed over a scan costs that scan alone."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_end

from covidssl.io import ScanFiles
from covidssl.preparing.one_scan import Job, failed, prepare_scan
from covidssl.store.record import ScanRecord

log = logging.getLogger(__name__)

KILLED = "killed"
_KILLED = (
    "the process that read it was ended by the system, twice, the second time with nothing beside "
    "it: most likely for want of memory. Give it more memory, and --retry-failed."
)


def in_processes(scans: Sequence[ScanFiles], job: Job, workers: int) -> Iterator[ScanRecord]:
    """What became of every scan, as they come out of `workers` processes of one thread each.

    A process that the system ends takes the others with it. Those scans that were being worked on
    are then read once more, each with nothing beside it; the one that ends its process again is a
    failed one.

    Raises:
        CovidsslError: as `prepare_scan`.
    """
    waiting = deque(scans)
    while waiting:
        suspects: list[ScanFiles] = []
        yield from _until_broken(waiting, job, workers, suspects)
        for scan in suspects:
            log.warning("%s: its process was ended; it is read again, alone.", scan.name)
            yield _alone(scan, job)


def _until_broken(
    waiting: deque[ScanFiles], job: Job, workers: int, suspects: list[ScanFiles]
) -> Iterator[ScanRecord]:
    """Read what is waiting; where a process is ended, stop and name who was being read."""
    running: dict[Future[ScanRecord], ScanFiles] = {}
    with _pool(workers) as pool:
        try:
            while waiting or running:
                # No more than are being read: whoever waits inside the pool would be suspected.
                while waiting and len(running) < workers:
                    running[pool.submit(prepare_scan, waiting[0], job)] = waiting[0]
                    waiting.popleft()
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    record = done.result()
                    del running[done]
                    yield record
        except BrokenProcessPool:
            for future, scan in running.items():
                if future.done() and future.exception() is None:
                    yield future.result()
                else:
                    suspects.append(scan)
        finally:
            pool.shutdown(cancel_futures=True)


def _alone(scan: ScanFiles, job: Job) -> ScanRecord:
    with _pool(1) as pool:
        try:
            return pool.submit(prepare_scan, scan, job).result()
        except BrokenProcessPool:
            return failed(scan, job, job.key(scan), _KILLED, KILLED)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned: a forked copy of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)


def _begin() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    one_thread()


def _end_with_parent() -> None:
    """End this process when the one that feeds it has ended, be it killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
        # Nobody is left to write a record of what it reads; half a group is cleared away later.
        os._exit(1)


def one_thread() -> None:
    """Let this process's libraries compute on one thread: there are as many processes as cores."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    # Read when SimpleITK is first imported, which is after this.
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
