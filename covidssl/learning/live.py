"""How a run looks while it learns: live in a terminal, one line a minute in a pipe."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.logging import RichHandler
from rich.progress_bar import ProgressBar
from rich.table import Table

from covidssl.training import StepReport

log = logging.getLogger(__name__)

_QUIET_SECONDS = 60.0
_A_SECOND = 4
_MEMORY = 0.98  # of the running means: about fifty steps


class Shown:
    """Numbers of a run for somebody who looks on.

    Args:
        name: of the run.
        steps: in all.
    """

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps
        self.report: StepReport | None = None
        self.loss = self.speed = 0.0
        self.others: dict[str, float] = {}
        self._taken, self._weight = 0, 0.0
        self._began = time.monotonic()

    def take(self, report: StepReport, others: Mapping[str, float]) -> None:
        """Take a step's report, and the newest of other numbers, such as validation's."""
        self.report, self.others = report, dict(others)
        self._taken += 1
        self._weight = _MEMORY * self._weight + 1 - _MEMORY
        share = (1 - _MEMORY) / self._weight
        self.loss += share * (report.loss - self.loss)
        self.speed += share * (report.images_per_second - self.speed)

    def numbers(self) -> dict[str, str]:
        """What is shown, each number by its name."""
        report = self.report
        if report is None:
            return {"step": f"0 of {self.steps}"}
        return {
            "step": f"{report.step} of {self.steps}",
            "loss": f"{report.loss:.4g}",
            "running mean": f"{self.loss:.4g}",
            "rate": f"{report.learning_rate:.3g}",
            "images/s": f"{self.speed:.3g}" if self.speed < 100 else f"{self.speed:.0f}",
            "left": self._left(report),
            **{name: f"{value:.4g}" for name, value in self.others.items()},
        }

    def line(self) -> str:
        """All in one line."""
        return f"{self.name}: " + ", ".join(f"{k} {v}" for k, v in self.numbers().items())

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for _ in range(4):
            table.add_column()
        cells = [f"[dim]{name}[/dim] {value}" for name, value in self.numbers().items()]
        for first in range(0, len(cells), 4):
            table.add_row(*cells[first : first + 4])
        done = self.report.step if self.report else 0
        return Group(f"{self.name}: training", ProgressBar(self.steps, done, width=60), table)

    def _left(self, report: StepReport) -> str:
        a_step = (time.monotonic() - self._began) / self._taken
        return in_words(a_step * (self.steps - report.step))


class View(Protocol):
    """Somewhere that a run is looked at."""

    def refresh(self) -> None:
        """Something has changed."""


class _Lines:
    """A line a minute."""

    def __init__(self, shown: Shown, seconds: float) -> None:
        self._shown, self._seconds, self._last = shown, seconds, time.monotonic()

    def refresh(self) -> None:
        if time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            log.info("%s", self._shown.line())


class _Drawn:
    """Rich draws by itself."""

    def refresh(self) -> None:
        pass


@contextmanager
def viewed(shown: Shown, seconds: float = _QUIET_SECONDS) -> Iterator[View]:
    """Show a run: live where the standard error is a terminal, else a line every `seconds`."""
    if not sys.stderr.isatty():
        yield _Lines(shown, seconds)
        return
    with Live(shown, console=_console(), refresh_per_second=_A_SECOND, transient=True):
        yield _Drawn()


def in_words(seconds: float) -> str:
    """A span of time, as `45 s`, `12 min`, `3.5 h` or `2.1 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def _console() -> Console:
    """The log's own console, so that its lines stand above what is live."""
    for handler in logging.getLogger("covidssl").handlers:
        if isinstance(handler, RichHandler):
            return handler.console
    return Console(stderr=True)
