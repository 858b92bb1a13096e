"""Reading, asking and writing overlap; a process that dies over a scan costs that scan alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from covidssl.inference.ahead import Ahead
from covidssl.inference.engines import TOO_LONG, Engine
from covidssl.prediction.outcomes import FAILED
from covidssl.worker_processes import KILLED, Limit, in_processes
from tests.inference.folders import ask, rows_of, write_pictures
from tests.killed_readers import write_deadly_picture

ROOT = Path(__file__).parents[2]


def test_no_more_is_made_ahead_than_was_asked_for() -> None:
    made: list[int] = []
    waiting = threading.Semaphore(0)

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            waiting.release()
            yield number

    with Ahead(items(), most=2) as coming:
        for _ in range(3):  # two that wait, and one in the making
            assert waiting.acquire(timeout=30)
        assert not waiting.acquire(timeout=0.3)
        taken = list(coming)
    assert taken == made == list(range(20))


def test_leaving_early_ends_the_thread_and_the_generator() -> None:
    ended = []

    def endless() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            ended.append(threading.current_thread().name)

    before = threading.active_count()
    with Ahead(endless()) as coming:
        assert next(iter(coming)) == 0
    assert ended == ["ahead"]
    assert threading.active_count() == before


def test_what_is_raised_ahead_is_raised_where_it_is_taken() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise KeyError("lost")

    with Ahead(failing()) as coming, pytest.raises(KeyError, match="lost"):
        list(coming)


@pytest.mark.parametrize(("scans", "readers"), [(1, 0), (24, 0), (10_000, None)])
def test_few_scans_are_read_without_processes(scans: int, readers: int | None) -> None:
    found = Engine().readers(scans)
    assert found == readers if readers is not None else found >= 1


def test_so_many_processes_as_were_asked_for_and_no_more_than_scans() -> None:
    assert [Engine(workers=4).readers(count) for count in (2, 100)] == [2, 4]
    assert Engine(workers=0).readers(100) == 0


def test_what_takes_too_long_is_given_up_and_costs_itself_alone() -> None:
    limit = Limit[float, str | None](10.0, lambda _: "given up", lambda: False)
    assert sorted(in_processes([0.0, 100_000.0, 0.5], time.sleep, 2, limit)) == [
        (0.0, None), (0.5, None), (100_000.0, "given up"),
    ]  # fmt: skip
    assert TOO_LONG in FAILED


def test_asked_to_stop_no_process_is_waited_for() -> None:
    came: list[float] = []
    limit = Limit[float, None](None, lambda _: None, lambda: bool(came))
    for item, _ in in_processes([0.0, 100_000.0], time.sleep, 2, limit):
        came.append(item)
    assert came == [0.0]


EATER = """
import sys
from pathlib import Path

import covidssl.inference.job as one_scan
from tests.killed_readers import end_over_deadly_pictures

end_over_deadly_pictures(one_scan)

if __name__ == "__main__":
    from covidssl.inference.engines import Engine
    from tests.inference.folders import ask

    model, scans, out = map(Path, sys.argv[1:])
    print(ask(model, scans, out, engine=Engine(workers=1)))
"""


def test_a_scan_over_which_its_process_is_killed_costs_itself_alone(
    model: Path, tmp_path: Path
) -> None:
    """The killer is in the script, which a spawned process imports: the pool is the real one."""
    scans = write_pictures(tmp_path / "in", 4)
    write_deadly_picture(scans / "01b.png")
    ask(model, [scans / f"0{k}.png" for k in range(4)], tmp_path / "whole")
    script = tmp_path / "eater.py"
    script.write_text(EATER)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script), str(model), str(scans), str(tmp_path / "out")],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    rows = rows_of(tmp_path / "out")
    killed = rows.pop("01b.png")
    assert (killed["outcome"], killed["reason_codes"]) == ("failed", KILLED)
    assert "want of memory" in killed["reasons"]
    # The others came out of processes as they do without.
    assert rows == rows_of(tmp_path / "whole")
