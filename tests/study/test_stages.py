"""Stages: skipped when done, done in order, taken by one process alone, stopped by a signal."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest
from typer import Typer
from typer.testing import CliRunner

from covidssl.errors import StoppedError, UsageError
from covidssl.folder_lock import alone_in
from pipelines import (
    ablate,
    cross_site,
    label_efficiency,
    reproduce_paper,
    scaling,
    shortcuts,
)
from pipelines.study.stages import Stage, chosen, plan_table, run_stages, stopping_after


class Work:
    """Stages that write a file each, and remember which of them ran."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ran = folder, list[str]()

    def stage(self, name: str, *needs: str, minutes: float = 30.0) -> Stage:
        product = self.folder / name

        def run() -> None:
            self.ran.append(name)
            product.write_text("made")

        def left() -> str:
            return "" if product.exists() else "nothing is there yet"

        return Stage(name, f"makes {name}", minutes, left, run, needs)

    @property
    def locks(self) -> Path:
        return self.folder / "locks"


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def test_stages_run_once_each_after_what_they_need(work: Work) -> None:
    stages = [work.stage("table", "first", "second"), work.stage("first"), work.stage("second")]
    run_stages(stages, work.locks)
    assert work.ran == ["first", "second", "table"]
    run_stages(stages, work.locks)
    assert work.ran == ["first", "second", "table"], "what is done was done again"


def test_a_stage_whose_product_is_lost_is_done_again_alone(work: Work) -> None:
    stages = [work.stage("first"), work.stage("second")]
    run_stages(stages, work.locks)
    (work.folder / "second").unlink()
    run_stages(stages, work.locks)
    assert work.ran == ["first", "second", "second"]


def test_only_what_was_asked_for_is_done(work: Work) -> None:
    stages = [work.stage("probe-a"), work.stage("probe-b"), work.stage("table")]
    run_stages(stages, work.locks, ["probe-*"])
    assert work.ran == ["probe-a", "probe-b"]


def test_a_stage_whose_needs_are_not_done_is_refused(work: Work) -> None:
    stages = [work.stage("pretrain"), work.stage("probe", "pretrain")]
    with pytest.raises(UsageError, match=r"probe: needs pretrain, which is not done"):
        run_stages(stages, work.locks, ["probe"])
    assert work.ran == []


def test_a_pattern_that_fits_no_stage_names_those_that_there_are(work: Work) -> None:
    with pytest.raises(UsageError, match=r"--only prob: there is no such stage; there are probe"):
        chosen([work.stage("probe")], ["prob"])


def test_a_stage_that_ran_and_made_nothing_is_an_error(work: Work) -> None:
    idle = Stage("idle", "nothing", 1, lambda: "still nothing", lambda: None)
    with pytest.raises(RuntimeError, match="idle: has run, and is still not done: still nothing"):
        run_stages([idle], work.locks)


def test_what_another_process_works_on_is_waited_for_and_not_done_twice(work: Work) -> None:
    stages = [work.stage("busy"), work.stage("free"), work.stage("after", "busy")]
    work.locks.mkdir()
    with alone_in(work.locks, "busy.lock", "busy"):
        runner = threading.Thread(target=run_stages, args=(stages, work.locks, (), 0.01))
        runner.start()
        while "free" not in work.ran:
            time.sleep(0.01)
        time.sleep(0.05)
        assert work.ran == ["free"]
        (work.folder / "busy").write_text("made by the other one")
    runner.join()
    assert work.ran == ["free", "after"]


def test_a_stage_that_another_process_gave_up_is_taken_over(work: Work) -> None:
    stages = [work.stage("busy")]
    work.locks.mkdir()
    with alone_in(work.locks, "busy.lock", "busy"):
        runner = threading.Thread(target=run_stages, args=(stages, work.locks, (), 0.01))
        runner.start()
        time.sleep(0.05)
        assert work.ran == []
    runner.join()
    assert work.ran == ["busy"]


def test_the_plan_tells_hours_of_each_stage_in_all_and_left(work: Work) -> None:
    stages = [work.stage("first", minutes=90), work.stage("second", minutes=30)]
    (work.folder / "first").write_text("made")
    lines = plan_table(stages).splitlines()
    assert lines[1].split() == ["first", "1.50", "makes", "first", "done"]
    assert lines[2].endswith("to do: nothing is there yet")
    assert lines[-1] == "2.0 hours in all on one thread; 0.5 left."
    assert work.ran == []


def test_the_plan_tells_the_whole_of_a_reason_and_so_what_to_run_first() -> None:
    reason = "first pipelines.reproduce_paper --only pretrain-perlin: there is no encoder yet"
    stage = Stage("probe", "probes", 1, lambda: reason, lambda: None)
    assert reason in plan_table([stage])


def test_a_product_that_another_command_makes_is_waited_for(work: Work) -> None:
    """Its stage has another name there: the product's own lock alone tells of it."""
    shared = work.folder / "shared"
    attempts = list[float]()

    def run() -> None:
        attempts.append(time.monotonic())
        with alone_in(shared, ".run.lock", "another one is working in it"):
            work.ran.append("ours")
            (shared / "made").write_text("here")

    def left() -> str:
        return "" if (shared / "made").exists() else "not made yet"

    shared.mkdir()
    stages = [
        Stage("ours", "makes what is shared", 1, left, run),
        work.stage("free"),
        work.stage("after", "ours"),
    ]
    for ends_well in (True, False):
        work.ran.clear()
        attempts.clear()
        with alone_in(shared, ".run.lock", "busy"):
            runner = threading.Thread(target=run_stages, args=(stages, work.locks, (), 0.1))
            runner.start()
            while len(attempts) < 2 and runner.is_alive():
                time.sleep(0.01)
            time.sleep(0.15)
            assert runner.is_alive()
            assert "ours" not in work.ran
            assert len(attempts) < 6, "it does not pause between its attempts"
            if ends_well:
                (shared / "made").write_text("by the other one")
        runner.join()
        assert work.ran == (["free", "after"] if ends_well else ["free", "ours", "after"])
        for name in ("free", "after", "shared/made"):
            (work.folder / name).unlink()


@pytest.mark.parametrize(
    "command", [ablate, cross_site, label_efficiency, reproduce_paper, scaling, shortcuts]
)
def test_data_that_are_no_folder_are_refused_before_anything_is_planned(
    command: ModuleType, tmp_path: Path
) -> None:
    app = Typer(add_completion=False)
    app.command()(command.main)
    options = ["--data", str(tmp_path / "none"), "--runs", str(tmp_path / "runs"), "--dry-run"]
    told = CliRunner().invoke(app, options, env={"COLUMNS": "400"})
    assert told.exit_code == 2
    assert "there is no such folder. Expected the one that holds the sets" in told.output
    assert "hours" not in told.output


def test_a_signal_ends_the_work_and_the_next_run_goes_on(work: Work) -> None:
    def killed() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    stages = [work.stage("first"), Stage("long", "", 1, lambda: "not yet", killed)]
    with pytest.raises(StoppedError, match="SIGTERM") as stopped, stopping_after():
        run_stages(stages, work.locks)
    assert stopped.value.code == 143
    run_stages([stages[0], work.stage("long")], work.locks)
    assert work.ran == ["first", "long"]


def test_work_is_stopped_after_its_minutes() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedError), stopping_after(0.001):
        time.sleep(30)
    assert signal.getsignal(signal.SIGTERM) is before
