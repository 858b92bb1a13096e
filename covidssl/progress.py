"""Progress on long work: a bar in a terminal, a line a minute in a pipe."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

T = TypeVar("T")

_QUIET_SECONDS = 60.0


def track(items: Iterable[T], what: str, count: int, done: int = 0) -> Iterator[T]:
    """Yield `items` and show how many of `count` are done; `done` of them were before."""
    if sys.stderr.isatty():
        yield from _bar(items, what, count, done)
        return
    last = time.monotonic()
    for number, item in enumerate(items, start=done + 1):
        yield item
        if time.monotonic() - last >= _QUIET_SECONDS:
            log.info("%s: %d of %d", what, number, count)
            last = time.monotonic()


def _bar(items: Iterable[T], what: str, count: int, done: int) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    from rich.console import Console

    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=count, completed=done)
        for item in items:
            yield item
            progress.advance(task)
