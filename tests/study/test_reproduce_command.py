"""The command of the paper's comparison: its stages run on one thread each, and can be stopped."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits
from typer import Typer
from typer.testing import CliRunner

from pipelines.reproduce_paper import main
from pipelines.study.stages import Stage

APP = Typer(add_completion=False)
APP.command()(main)


def test_stages_run_on_one_thread_though_more_were_set_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def look() -> None:
        seen.extend(pool["num_threads"] for pool in threadpool_info())

    stage = Stage("look", "counts threads", 1.0, lambda: "" if seen else "not done", look)
    monkeypatch.setattr("pipelines.reproduce_paper.stages_of", lambda *_of: [stage])
    with threadpool_limits(2):
        said = CliRunner().invoke(APP, ["--data", str(tmp_path), "--runs", str(tmp_path / "runs")])
    assert said.exit_code == 0, said.output
    assert seen
    assert set(seen) == {1}


def test_it_stops_after_the_minutes_that_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage("long", "waits", 1.0, lambda: "not done", lambda: time.sleep(60))
    monkeypatch.setattr("pipelines.reproduce_paper.stages_of", lambda *_of: [stage])
    folders = ["--data", str(tmp_path), "--runs", str(tmp_path / "runs")]
    said = CliRunner().invoke(APP, [*folders, "--stop-after", "0.005"])
    assert said.exit_code == 128 + 15
    assert "Run the same command to go on" in said.output
