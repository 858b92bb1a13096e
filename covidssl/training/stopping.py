"""Signals that ask a run to stop: it finishes its step and keeps its state first."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Ctrl-C, kill, a terminal that is closed, and the two that SLURM can be told to send before it
takes a machine away."""


class StopSignals:
    """While this context lasts, a signal of `STOPPING` is noted, and does no more.

    A second Ctrl-C ends the process at once. A run that `nohup` has made deaf to a terminal that is
    closed stays deaf to it. Outside of the main thread, where Python takes no
    signals, nothing is changed.

    Attributes:
        caught: the number of the first signal; 0 for none.
    """

    def __init__(self) -> None:
        self.caught = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            deaf = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()
            wanted = [number for number in STOPPING if number not in deaf]
            self._before = {number: signal.signal(number, self._note) for number in wanted}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.caught == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.caught = self.caught or number
