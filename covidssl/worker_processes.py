"""Work in processes of this machine; an item over which its process is ended costs itself alone."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for_end
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

KILLED = "killed"
"""The code of an item over which its process was ended."""

KILLED_TEXT = (
    "the process that read it was ended by the system, twice, the second time with nothing beside "
    "it: most likely for want of memory. Give it more memory, and --retry-failed."
)
_PAUSE_S = 0.2


@dataclass(frozen=True)
class Limit(Generic[T, R]):
    """When to give up on an item, and on all of them, where processes may be ended at any time.

    Attributes:
        seconds: that an item may take, with what its process takes to begin; None: any time.
        given_up: makes the result of an item that took longer, whose process is then ended.
        stops: whether to begin nothing more and to end the processes, asked again and again.
    """

    seconds: float | None
    given_up: Callable[[T], R]
    stops: Callable[[], bool]


def in_processes(
    items: Sequence[T], work: Callable[[T], R], workers: int, limit: Limit[T, R] | None = None
) -> Iterator[tuple[T, R | None]]:
    """What comes of every item, as it comes out of `workers` processes of one thread each.

    A process that the system ends takes the others with it. Those items that were being worked on
    are then tried once more, each with nothing beside it; of the one that ends its process again
    None comes.

    Args:
        items: that can be sent to another process.
        work: a function that can be sent, too.
        workers: how many processes.
        limit: when to give up; by itself never.

    Raises:
        Exception: what `work` raises.
    """
    waiting = deque(items)
    while waiting and not _stops(limit):
        suspects: list[T] = []
        yield from _until_broken(waiting, work, workers, suspects, limit)
        while suspects and not _stops(limit):
            log.warning("A process was ended by the system; its scan is read again, alone.")
            item = suspects.pop(0)
            alone, again = deque([item]), list[T]()
            yield from _until_broken(alone, work, 1, again, limit)
            if again:
                yield item, None


def _until_broken(
    waiting: deque[T],
    work: Callable[[T], R],
    workers: int,
    suspects: list[T],
    limit: Limit[T, R] | None,
) -> Iterator[tuple[T, R]]:
    """Work on what is waiting; where a process is ended, stop and name what was worked on.

    Where an item takes too long, stop likewise; what was worked on beside it waits again.
    """
    running: dict[Future[R], tuple[T, float]] = {}
    with _pool(workers, limit) as pool, _left_at_once(pool, limit):
        try:
            late: list[Future[R]] = []
            while (waiting or running) and not late and not _stops(limit):
                # No more than are worked on: whoever waits inside the pool would be suspected.
                while waiting and len(running) < workers:
                    running[pool.submit(work, waiting[0])] = waiting[0], time.monotonic()
                    waiting.popleft()
                pause = None if limit is None else _PAUSE_S
                for done in wait(running, pause, return_when=FIRST_COMPLETED).done:
                    result = done.result()
                    yield running.pop(done)[0], result
                late = _overdue(running, limit)
        except BrokenProcessPool:
            for future, (item, _) in running.items():
                if future.done() and future.exception() is None:
                    yield item, future.result()
                else:
                    suspects.append(item)
            return
        if limit is not None and running:
            _end(pool)
            waiting.extendleft(item for one, (item, _) in running.items() if one not in late)
            for future in late:
                item = running[future][0]
                yield item, limit.given_up(item)


def _overdue(
    running: dict[Future[R], tuple[T, float]], limit: Limit[T, R] | None
) -> list[Future[R]]:
    if limit is None or limit.seconds is None:
        return []
    before = time.monotonic() - limit.seconds
    return [one for one, (_, began) in running.items() if began < before and not one.done()]


def _stops(limit: Limit[T, R] | None) -> bool:
    return limit is not None and limit.stops()


@contextmanager
def _left_at_once(pool: ProcessPoolExecutor, limit: Limit[T, R] | None) -> Iterator[None]:
    """Where an error leaves the block, wait for no item that may be given up."""
    try:
        yield
    except BaseException:
        if limit is not None:
            _end(pool)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _end(pool: ProcessPoolExecutor) -> None:
    # Python before 3.14 has no other way to end a process that does not come back by itself.
    for process in list((pool._processes or {}).values()):
        process.kill()


def _pool(workers: int, limit: Limit[T, R] | None) -> ProcessPoolExecutor:
    # Spawned: a forked copy of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(
        workers, mp_context=context, initializer=_begin, initargs=(limit is not None,)
    )


def _begin(deaf: bool) -> None:
    # A Ctrl-C goes to all processes of a terminal; the one that feeds these ends them.
    for number in (signal.SIGINT, signal.SIGTERM) if deaf else ():
        signal.signal(number, signal.SIG_IGN)
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
