"""Timing contenders against each other: in one process, in turn, round after round."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

_PAUSE_CYCLES = 200_000_000
"""About a tenth of a second, in which the calls of a measurement are queued."""


class Contender(NamedTuple):
    """Something to time.

    Attributes:
        name: unlike any other's of the same rounds.
        call: does the work once.
        units: how many units of work a call does (fields, say); below 1 for a part of one.
    """

    name: str
    call: Callable[[], object]
    units: float = 1.0


def use_threads(number: int) -> int:
    """Use so many threads everywhere; returns how many torch used before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        import numba
    except ImportError:
        return before
    # It refuses more than it was started with.
    most: int = getattr(numba.config, "NUMBA_NUM_THREADS", number)
    numba.set_num_threads(min(number, most))
    return before


def _nothing() -> None:
    """What a CPU waits for."""


def interleaved(
    contenders: Sequence[Contender],
    rounds: int,
    least_s: float,
    wait: Callable[[], object] = _nothing,
) -> dict[str, list[float]]:
    """Seconds a unit of work of every contender, in every round.

    A round times every contender once, one after another, so that what slows the machine for a
    while slows them alike and a ratio within a round is fair. Each is called twice before anything
    is timed (compilation, caches), and in a round as often as fills `least_s`.

    Args:
        contenders: what to time.
        rounds: how often.
        least_s: shortest time of one measurement in seconds.
        wait: returns when the device has done all that was asked of it.
    """
    repeats = {one.name: _repeats(one, least_s, wait) for one in contenders}
    seconds: dict[str, list[float]] = {one.name: [] for one in contenders}
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            # Every other round backwards: nobody always follows the same neighbour.
            for one in contenders if turn % 2 == 0 else reversed(contenders):
                times = repeats[one.name]
                seconds[one.name].append(_timed(one, times, wait) / (times * one.units))
    finally:
        gc.enable()
    return seconds


def on_device(
    contenders: Sequence[Contender], rounds: int, times: int = 20
) -> dict[str, list[float]]:
    """Seconds a unit of work that a GPU takes, without the CPU's share, in every round.

    The calls of a measurement queue up behind a pause of the device, so that it goes from one to
    the next without waiting; events before and after them tell the time. In turn as in
    `interleaved`.
    """
    seconds: dict[str, list[float]] = {one.name: [] for one in contenders}
    for one in contenders:
        one.call()
    for turn in range(rounds):
        for one in contenders if turn % 2 == 0 else reversed(contenders):
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            torch.cuda._sleep(_PAUSE_CYCLES)
            before.record()
            for _ in range(times):
                one.call()
            after.record()
            torch.cuda.synchronize()
            milliseconds: float = before.elapsed_time(after)
            seconds[one.name].append(milliseconds / 1000 / (times * one.units))
    return seconds


def _repeats(one: Contender, least_s: float, wait: Callable[[], object]) -> int:
    one.call()
    one.call()
    return max(1, math.ceil(least_s / max(_timed(one, 1, wait), 1e-7)))


def _timed(one: Contender, times: int, wait: Callable[[], object]) -> float:
    wait()
    began = time.perf_counter()
    for _ in range(times):
        one.call()
    wait()
    return time.perf_counter() - began
