"""Work in processes of this machine; an item over which its process is ended costs itself alone."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_end
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

KILLED = "killed"
"""The code of an item over which its process was ended."""

KILLED_TEXT = (
    "the process that read it was ended by the system, twice, the second time with nothing beside "
    "it: most likely for want of memory. Give it more memory, and --retry-failed."
)


def in_processes(
    items: Sequence[T], work: Callable[[T], R], workers: int
) -> Iterator[tuple[T, R | None]]:
    """What comes of every item, as it comes out of `workers` processes of one thread each.

    A process that the system ends takes the others with it. Those items that were being worked on
    are then tried once more, each with nothing beside it; of the one that ends its process again
    None comes.

    Args:
        items: that can be sent to another process.
        work: a function that can be sent, too.
        workers: how many processes.

    Raises:
        Exception: what `work` raises.
    """
    waiting = deque(items)
    while waiting:
        suspects: list[T] = []
        yield from _until_broken(waiting, work, workers, suspects)
        for item in suspects:
            log.warning("A process was ended by the system; its scan is read again, alone.")
            yield item, _alone(item, work)


def _until_broken(
    waiting: deque[T], work: Callable[[T], R], workers: int, suspects: list[T]
) -> Iterator[tuple[T, R]]:
    """Work on what is waiting; where a process is ended, stop and name what was worked on."""
    running: dict[Future[R], T] = {}
    with _pool(workers) as pool:
        try:
            while waiting or running:
                # No more than are worked on: whoever waits inside the pool would be suspected.
                while waiting and len(running) < workers:
                    running[pool.submit(work, waiting[0])] = waiting[0]
                    waiting.popleft()
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    result = done.result()
                    yield running.pop(done), result
        except BrokenProcessPool:
            for future, item in running.items():
                if future.done() and future.exception() is None:
                    yield item, future.result()
                else:
                    suspects.append(item)
        finally:
            pool.shutdown(cancel_futures=True)


def _alone(item: T, work: Callable[[T], R]) -> R | None:
    with _pool(1) as pool:
        try:
            return pool.submit(work, item).result()
        except BrokenProcessPool:
            return None


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
        # Nobody is left to take what it makes; what it has half written is cleared away later.
        os._exit(1)


def one_thread() -> None:
    """Let this process's libraries compute on one thread: there are as many processes as cores."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    # Read when SimpleITK is first imported, which is after this.
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
