"""What a run shows and writes down while it learns."""

from __future__ import annotations

import json
import logging
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from torch.utils.tensorboard import SummaryWriter

from covidssl.files import read_csv, write_csv
from covidssl.learning import Notes
from covidssl.learning.books import Board, Books
from covidssl.learning.live import Shown, in_words, viewed
from covidssl.learning.step_files import MetricsFile
from covidssl.training import StepReport
from tests.training.small import PLAN, learnt
from tests.training.test_checkpoint import files_of_at_most

PNG = b"\x89PNG"


def report(step: int, loss: float = 0.5, speed: float = 20.0) -> StepReport:
    return StepReport(step, loss, {"part": loss / 2}, 1e-3, speed)


def test_a_json_object_stands_for_every_step_beside_its_row(tmp_path: Path) -> None:
    learnt(tmp_path)
    rows = read_csv(tmp_path / "metrics.csv")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == PLAN.steps
    assert [list(line) for line in lines] == [list(rows[0])] * PLAN.steps
    assert [repr(line["loss"]) for line in lines] == [row["loss"] for row in rows]


def test_a_part_that_is_not_a_number_leaves_the_line_json(tmp_path: Path) -> None:
    with MetricsFile(tmp_path / "metrics.csv", ["part"], 0) as metrics:
        metrics.write(report(1)._replace(parts={"part": float("nan")}))
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["part"] is None


def test_the_curve_is_drawn_with_validation_where_there_is_some(tmp_path: Path) -> None:
    learnt(tmp_path)
    without = (tmp_path / "progress.png").read_bytes()
    assert without.startswith(PNG)
    rows = [{"step": 1, "loss": 0.5, "auroc": 0.5}, {"step": 8, "loss": 0.2, "auroc": 0.9}]
    write_csv(tmp_path / "validation.csv", ("step", "loss", "auroc"), rows)
    with Books(tmp_path, ("cross_entropy",), PLAN.steps, PLAN.steps):
        pass
    assert (tmp_path / "progress.png").read_bytes() != without


def test_a_curve_of_very_many_steps_is_drawn_all_the_same(tmp_path: Path) -> None:
    with MetricsFile(tmp_path / "metrics.csv", ["part"], 0) as metrics:
        for step in range(1, 5003):
            metrics.write(report(step))
    with Books(tmp_path, ("part",), 5002, 6000):
        pass
    assert (tmp_path / "progress.png").read_bytes().startswith(PNG)


def test_numbers_of_hooks_are_shown_beside_the_loss(tmp_path: Path) -> None:
    shown: list[str] = []

    def validate(step: StepReport, _: Notes, board: SummaryWriter) -> None:
        board.add_scalar("validation/auroc", 0.75, step.step)

    with Books(tmp_path, ("part",), 0, 10) as books:
        books.write(report(1))
        validate(report(1), {}, books.board)
        books.show(report(1))
        shown.append(books.shown.line())
    assert "validation/auroc 0.75" in shown[0]
    assert "train/loss" not in shown[0]


def test_tensorboard_keeps_every_step_once_when_a_run_goes_on(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for from_step, steps in ((0, range(1, 8)), (5, range(6, 9))):
        with Books(tmp_path, ("part",), from_step, 8) as books:
            for step in steps:
                books.write(report(step))
        time.sleep(1.1)  # files of events are put in order by the second in their name
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [event.step for event in found.Scalars("train/loss")] == list(range(1, 9))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_that_tensorboard_meets_first_is_not_worth_a_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with files_of_at_most(2000):
        board = Board(tmp_path, 0, flush_secs=0.01)
        for step in range(200):
            board.add_scalar("train/loss", step, step)
            time.sleep(0.001)
        board.close()
    assert board.newest == {"train/loss": 199}
    assert caplog.text.count("TensorBoard's events could not be written") == 1


def test_a_line_says_how_far_it_is_how_fast_and_for_how_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shown = Shown("pretrain", 1000)
    with caplog.at_level(logging.INFO, "covidssl"), viewed(shown, seconds=0) as view:
        for step in range(1, 4):
            shown.take(report(step, loss=1 / step), {})
            view.refresh()
    assert len(caplog.messages) == 3
    words = ("pretrain: step 3 of 1000", "loss 0.3333", "running mean 0.6", "rate 0.001",
             "images/s 20", "left ")  # fmt: skip
    assert all(word in caplog.messages[-1] for word in words), caplog.messages[-1]


def test_it_is_quiet_for_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    shown = Shown("pretrain", 1000)
    with caplog.at_level(logging.INFO, "covidssl"), viewed(shown) as view:
        for step in range(1, 100):
            shown.take(report(step), {})
            view.refresh()
    assert caplog.messages == []


def test_a_terminal_sees_the_same_numbers_and_a_bar() -> None:
    shown = Shown("pretrain", 10)
    console = Console(width=120, file=StringIO())
    console.print(shown)
    shown.take(report(5), {"quality/knn": 0.9})
    console.print(shown)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for word in ("step 0 of 10", "step 5 of 10", "running mean", "quality/knn 0.9", "━"):
        assert word in text


def test_in_a_terminal_the_numbers_are_live(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(logging.getLogger("covidssl"), "handlers", [])
    monkeypatch.setenv("TERM", "xterm")
    shown = Shown("pretrain", 10)
    with viewed(shown) as view:
        shown.take(report(5), {})
        view.refresh()
    assert "5 of 10" in terminal.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "5 s"), (600, "10 min"), (4 * 3600, "4.0 h"), (4 * 86400, "4.0 days")],
)
def test_a_span_of_time_is_said_in_the_unit_that_suits_it(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
