"""Work that takes hours, cut into stages: each is skipped once its products stand, and resumable.

Several processes may work at the same time: each takes the next stage that nobody works on.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from types import FrameType

from covidssl.errors import BusyError, StoppedError, UsageError
from covidssl.folder_lock import alone_in

log = logging.getLogger(__name__)

_PAUSE_S = 20.0


@dataclass(frozen=True)
class Stage:
    """One piece of work.

    Attributes:
        name: for `--only`.
        what: it makes, in words.
        minutes: that it takes from its beginning, on one thread of a processor of two.
        left: why it is still to do, in words; empty text when its products stand and are of what
            stands now.
        run: does it; called again after a stop, it goes on where it was.
        needs: names of the stages whose products it reads.
    """

    name: str
    what: str
    minutes: float
    left: Callable[[], str]
    run: Callable[[], None]
    needs: tuple[str, ...] = ()


def chosen(stages: Sequence[Stage], only: Sequence[str]) -> list[Stage]:
    """The stages whose names fit one of the patterns (`probe-*`); all of them without patterns.

    Raises:
        UsageError: for a pattern that fits none.
    """
    for pattern in only:
        if not any(fnmatchcase(stage.name, pattern) for stage in stages):
            names = ", ".join(stage.name for stage in stages)
            raise UsageError(f"--only {pattern}: there is no such stage; there are {names}.")
    return [
        stage
        for stage in stages
        if not only or any(fnmatchcase(stage.name, pattern) for pattern in only)
    ]


def plan_table(stages: Sequence[Stage]) -> str:
    """What is done and what is left, with hours a stage and in all, as text of columns."""
    rows = [("stage", "hours", "what it makes", "state")]
    hours_left = 0.0
    for stage in stages:
        reason = stage.left()
        hours_left += stage.minutes / 60 if reason else 0.0
        # The last column, and whole: a reason ends with what to run first.
        state = f"to do: {reason}" if reason else "done"
        rows.append((stage.name, f"{stage.minutes / 60:.2f}", stage.what, state))
    total = sum(stage.minutes for stage in stages) / 60
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    ]
    return "\n".join([*lines, f"{total:.1f} hours in all on one thread; {hours_left:.1f} left."])


class _State(Enum):
    """How far a stage is: done, worked on by another process, or without what it needs."""

    DONE = "done"
    BUSY = "busy"
    LACKING = "lacking"


def run_stages(
    every: Sequence[Stage], locks: Path, only: Sequence[str] = (), pause_s: float = _PAUSE_S
) -> None:
    """Do what is left, in order; what another process works on is waited for.

    That is a stage of the same name, or a product that another command makes in a stage of its own.

    Args:
        every: all stages, each after those that it needs.
        locks: folder of the files by which processes keep out of each other's stages.
        only: patterns of names; what they need must be done.
        pause_s: seconds between two looks at what others do.

    Raises:
        UsageError: when a stage needs what is neither done nor asked for.
        StoppedError: when a signal asked for it.
    """
    pending = chosen(every, only)
    locks.mkdir(parents=True, exist_ok=True)
    told: set[str] = set()
    waits = False
    while pending:
        states = [_settled(stage, every, locks, told) for stage in pending]
        left = [one for one, state in zip(pending, states, strict=True) if state != _State.DONE]
        if len(left) < len(pending):
            pending = left
            continue
        if _State.BUSY not in states and not any(_is_busy(stage, locks) for stage in every):
            _must_not_lack(pending, every)
            continue  # what was busy has ended between the two looks
        if not waits:
            log.info("Waiting for what another process works on.")
            waits = True
        time.sleep(pause_s)


def _settled(stage: Stage, every: Sequence[Stage], locks: Path, told: set[str]) -> _State:
    """How far a stage is, after it was done here where it could be.

    Args:
        stage: to do.
        every: all stages.
        locks: folder of their locks.
        told: names of stages of which it was said already that they wait; added to.
    """
    if _lacking(stage, every):
        return _State.LACKING
    with ExitStack() as stack:
        try:
            stack.enter_context(alone_in(locks, f"{stage.name}.lock", "busy"))
        except BusyError:
            return _State.BUSY
        reason = stage.left()  # only now: another process may just have done it
        if not reason:
            log.info("%s: done.", stage.name)
            return _State.DONE
        if stage.name not in told:
            hours = stage.minutes / 60
            log.info("%s (%s): some %.1f h; %s", stage.name, reason, hours, stage.what)
        began = time.monotonic()
        try:
            stage.run()
        except BusyError as busy:
            if stage.name not in told:
                log.info("%s: waits, %s", stage.name, busy)
                told.add(stage.name)
            return _State.BUSY
        log.info("%s: %.1f minutes.", stage.name, (time.monotonic() - began) / 60)
        reason = stage.left()
        if reason:
            raise RuntimeError(f"{stage.name}: has run, and is still not done: {reason}.")
    return _State.DONE


def _lacking(stage: Stage, every: Sequence[Stage]) -> list[Stage]:
    return [one for one in every if one.name in stage.needs and one.left()]


def _is_busy(stage: Stage, locks: Path) -> bool:
    try:
        with alone_in(locks, f"{stage.name}.lock", "busy"):
            return False
    except BusyError:
        return True


def _must_not_lack(pending: Sequence[Stage], every: Sequence[Stage]) -> None:
    for stage in pending:
        lacking = _lacking(stage, every)
        if not lacking:
            return
        if all(one not in pending for one in lacking):
            raise UsageError(
                f"{stage.name}: needs {lacking[0].name}, which is not done "
                f"({lacking[0].left()}). Run that stage first, or leave --only out."
            )


@contextmanager
def stopping_after(minutes: float | None = None) -> Iterator[None]:
    """Let SIGTERM, and the end of so many minutes, stop what runs as a `StoppedError`.

    A training that runs then ends its step and keeps its state; all other writing is whole or not
    at all, so it may end anywhere.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        raise StoppedError(f"Stopped by {name}. Run the same command to go on.", number)

    before = signal.signal(signal.SIGTERM, stop)
    timer = None
    if minutes is not None:
        timer = threading.Timer(minutes * 60, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
        signal.signal(signal.SIGTERM, before)
