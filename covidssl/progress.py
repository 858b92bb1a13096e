"""Progress on long work: a bar in a terminal, a line a minute in a pipe."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

T = TypeVar("T")

_QUIET_SECONDS = 60.0


def track(
    items: Iterable[T],
    what: str,
    count: int,
    done: int = 0,
    tell: Callable[[], str] | None = None,
) -> Iterator[T]:
    """Yield `items` and show how many of `count` are done.

    Args:
        items: to go through.
        what: is done.
        count: how many there are.
        done: of them, before.
        tell: how it went so far, in a few words.
    """
    if sys.stderr.isatty():
        yield from _bar(items, what, (count, done), tell)
        return
    last = time.monotonic()
    for number, item in enumerate(items, start=done + 1):
        yield item
        if time.monotonic() - last >= _QUIET_SECONDS:
            told = f" ({tell()})" if tell else ""
            log.info("%s: %d of %d%s", what, number, count, told)
            last = time.monotonic()


def _bar(
    items: Iterable[T], what: str, counts: tuple[int, int], tell: Callable[[], str] | None
) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    from rich.console import Console

    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=counts[0], completed=counts[1])
        for item in items:
            yield item
            description = f"{what}: {tell()}" if tell else what
            progress.update(task, advance=1, description=description)
