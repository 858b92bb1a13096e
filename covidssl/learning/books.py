"""The books of a run as it learns: metrics, TensorBoard, a curve, and what is shown meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from covidssl.errors import NoRoomError
from covidssl.files import is_full, read_csv, write_bytes
from covidssl.learning.live import Shown, viewed
from covidssl.learning.step_files import MetricsFile
from covidssl.training import StepReport

log = logging.getLogger(__name__)

_CURVE_SECONDS = 60.0
_CURVE_POINTS = 2000


class Board(SummaryWriter):
    """TensorBoard, which remembers the newest number of each kind, so that it can be shown.

    It is given up, with a warning, when the disk is full: it is not worth a run.
    """

    def __init__(self, folder: Path, from_step: int, flush_secs: float = 120) -> None:
        # What it purges begins with the step that it is given.
        super().__init__(str(folder), purge_step=from_step + 1, flush_secs=flush_secs)
        self.newest: dict[str, float] = {}
        self._is_given_up = False

    def add_scalar(self, tag: str, scalar_value: Any, *more: Any, **named: Any) -> None:
        self.newest[tag] = float(scalar_value)
        if not self._is_given_up:
            with self._giving_up():
                super().add_scalar(tag, scalar_value, *more, **named)

    def close(self) -> None:
        with self._giving_up():
            super().close()

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not is_full(error):
                raise
            if not self._is_given_up:
                log.warning("TensorBoard's events could not be written, the disk is full.")
            self._is_given_up = True


class Books:
    """`metrics.csv`, `metrics.jsonl`, `tensorboard/` and `progress.png` of a run folder.

    Used as a context, by the first process alone.

    Args:
        out: the run folder.
        parts: names of the loss's parts.
        from_step: where the run goes on.
        steps: in all.
    """

    def __init__(self, out: Path, parts: tuple[str, ...], from_step: int, steps: int) -> None:
        self.out, self.shown = out, Shown(out.name, steps)
        self._metrics = MetricsFile(out / "metrics.csv", parts, from_step)
        self.board = Board(out / "tensorboard", from_step)
        before = read_csv(out / "metrics.csv")
        self._curve = [(float(row["step"]), float(row["loss"])) for row in before]
        self._drawn = time.monotonic()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(self._metrics)
        self._open.callback(self.board.close)
        self._open.callback(self._draw)
        self._view = self._open.enter_context(viewed(self.shown))
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def write(self, report: StepReport) -> None:
        """Take down one step.

        Raises:
            NoRoomError: when the disk is full.
        """
        self._metrics.write(report)
        self._curve.append((report.step, report.loss))
        values = {
            "loss": report.loss,
            **report.parts,
            "lr": report.learning_rate,
            "images_per_second": report.images_per_second,
        }
        for name, value in values.items():
            self.board.add_scalar(f"train/{name}", value, report.step)

    def show(self, report: StepReport) -> None:
        """Show the step, with the newest numbers that were put on the board beside it."""
        newest = self.board.newest.items()
        self.shown.take(report, {k: v for k, v in newest if not k.startswith("train/")})
        self._view.refresh()
        if time.monotonic() - self._drawn >= _CURVE_SECONDS:
            self._draw()

    def _draw(self) -> None:
        from covidssl.figures.runs import training_curve  # takes a second

        self._drawn = time.monotonic()
        if not self._curve:
            return
        steps, loss = _thinned(self._curve)
        try:
            write_bytes(
                self.out / "progress.png", training_curve(steps, loss, _validation(self.out))
            )
        except NoRoomError as error:
            log.warning("%s", error)  # a picture is not worth a run


def _thinned(curve: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Steps and losses, means of neighbours where there are too many to draw."""
    points = np.asarray(curve)
    size = -(-len(points) // _CURVE_POINTS)
    if size > 1:
        points = np.stack([part.mean(0) for part in np.array_split(points, _CURVE_POINTS)])
    return points[:, 0].tolist(), points[:, 1].tolist()


def _validation(out: Path) -> tuple[list[float], list[float]] | None:
    """Steps and losses on validation, where there are some."""
    path = out / "validation.csv"
    if not path.is_file():
        return None
    rows = read_csv(path)
    return [float(row["step"]) for row in rows], [float(row["loss"]) for row in rows]
