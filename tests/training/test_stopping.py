"""A run that is stopped at any moment goes on to the same losses, to the last bit."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from covidssl.checkpoint import is_whole
from covidssl.errors import NoRoomError, StoppedError
from covidssl.files import read_csv, write_text
from covidssl.learning import Notes
from covidssl.training import NonFiniteLossError, StepReport, StopSignals, TrainingPlan
from covidssl.training.stopping import STOPPING
from tests.training.small import PLAN, learnt
from tests.training.test_checkpoint import files_of_at_most

WAYS = {
    "plain": PLAN,
    "in parts": PLAN.model_copy(update={"accumulate": 3}),
    "with readers": PLAN.model_copy(update={"workers": 2}),
}


def losses_of(out: Path) -> list[str]:
    return [row["loss"] for row in read_csv(out / "metrics.csv")]


def checkpoints_of(out: Path) -> list[str]:
    return [path.name for path in sorted((out / "checkpoints").iterdir())]


class Sends:
    """Sends this process signals at a step."""

    def __init__(self, step: int, *numbers: signal.Signals) -> None:
        self.step, self.numbers = step, numbers

    def __call__(self, report: StepReport, *_: object) -> None:
        if report.step == self.step:
            for number in self.numbers:
                os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """Signals do what they do by themselves, whatever began the tests (`nohup`, a shell's `&`)."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOPPING}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_a_signal_lets_the_step_end_and_keeps_its_state(
    tmp_path: Path, number: signal.Signals
) -> None:
    with pytest.raises(StoppedError, match=f"{number.name} after step 5.*--resume") as stopped:
        learnt(tmp_path, Sends(5, number))
    assert stopped.value.code == 128 + number
    assert len(losses_of(tmp_path)) == 5
    assert checkpoints_of(tmp_path) == ["step-00000003.safetensors", "step-00000005.safetensors"]


@pytest.mark.parametrize("plan", WAYS.values(), ids=WAYS)
def test_a_run_that_was_stopped_twice_has_the_losses_and_weights_of_one_that_was_not(
    tmp_path: Path, plan: TrainingPlan
) -> None:
    whole, whole_notes = learnt(tmp_path / "whole", plan=plan)
    out = tmp_path / "stopped"
    for step in (2, 5):
        with pytest.raises(StoppedError):
            learnt(out, Sends(step, signal.SIGTERM), plan)
    state, notes = learnt(out, plan=plan)
    assert losses_of(out) == losses_of(tmp_path / "whole")
    assert notes == whole_notes
    for name, tensor in whole.weights().items():
        assert tensor.equal(state.weights()[name]), name


def test_readers_live_through_signals_to_the_whole_group(tmp_path: Path) -> None:
    learnt(tmp_path / "whole")

    def signal_readers(report: StepReport, *_: object) -> None:
        if report.step == 2:
            readers = multiprocessing.active_children()
            assert len(readers) == 2
            for reader in readers:
                for number in STOPPING:
                    os.kill(reader.pid or 0, number)

    learnt(tmp_path / "read", signal_readers, WAYS["with readers"])
    assert losses_of(tmp_path / "read") == losses_of(tmp_path / "whole")


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        learnt(tmp_path, Sends(5, signal.SIGINT, signal.SIGINT))
    assert checkpoints_of(tmp_path) == ["step-00000003.safetensors"]


def test_signals_are_as_before_when_a_run_has_ended(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    learnt(tmp_path)
    assert [signal.getsignal(number) for number in STOPPING] == before


def test_a_run_under_nohup_stays_deaf_to_a_terminal_that_is_closed() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.caught == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_of_the_main_thread_signals_are_left_alone() -> None:
    found: list[bool] = []

    def look() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with StopSignals():
            found.append(signal.getsignal(signal.SIGTERM) == before)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [True]


def test_a_full_disk_ends_a_run_that_then_goes_on_to_the_same_losses(tmp_path: Path) -> None:
    learnt(tmp_path / "whole")
    out = tmp_path / "full"

    def stop(report: StepReport, *_: object) -> None:
        Sends(4, signal.SIGTERM)(report)

    with pytest.raises(StoppedError):
        learnt(out, stop)
    size = (out / "checkpoints" / "step-00000004.safetensors").stat().st_size
    with files_of_at_most(size // 2), pytest.raises(NoRoomError, match="checkpoint of step 6"):
        learnt(out)
    assert all(is_whole(path) for path in (out / "checkpoints").iterdir())
    learnt(out)
    assert losses_of(out) == losses_of(tmp_path / "whole")


def test_no_more_than_minutes_are_lost_however_long_a_step_takes(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"checkpoint_minutes": 1e-9, "keep_checkpoints": 100})
    learnt(tmp_path, plan=plan)
    assert len(checkpoints_of(tmp_path)) == PLAN.steps


def test_a_run_that_was_ended_early_ends_well_and_stays_ended(tmp_path: Path) -> None:
    def enough(report: StepReport, notes: Notes, _: object) -> bool:
        notes["seen"] = float(report.step)
        return report.step == 4

    state, notes = learnt(tmp_path, enough)
    assert (state.step, notes) == (4, {"seen": 4.0, "stopped_early": 4.0})
    again, notes = learnt(tmp_path, enough)
    assert (again.step, notes["stopped_early"]) == (4, 4.0)
    assert len(losses_of(tmp_path)) == 4


def test_what_comes_first_comes_once(tmp_path: Path) -> None:
    calls: list[int] = []
    with pytest.raises(StoppedError):
        learnt(tmp_path, Sends(2, signal.SIGUSR1), first=lambda _: calls.append(1))
    learnt(tmp_path, first=lambda _: calls.append(2))
    assert calls == [1]


def test_a_step_that_is_not_finite_leaves_what_makes_it_again(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"learning_rate": 1e30, "gradient_clip": None})
    with pytest.raises(NonFiniteLossError) as refused:
        learnt(tmp_path, plan=plan)
    said = (tmp_path / "nonfinite.json").read_text()
    assert f'"step": {refused.value.step}' in said
    assert len(losses_of(tmp_path)) == refused.value.step


def test_fewer_pictures_than_a_batch_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learnt(tmp_path, plan=PLAN.model_copy(update={"steps": 1, "batch_size": 30}))
    assert "20 pictures to train on, and a batch holds 30" in caplog.text


def test_torn_rows_of_a_kill_are_cut_back(tmp_path: Path) -> None:
    learnt(tmp_path / "whole")
    out = tmp_path / "torn"
    with pytest.raises(StoppedError):
        learnt(out, Sends(5, signal.SIGTERM))
    for name in ("metrics.csv", "metrics.jsonl"):
        text = (out / name).read_text()
        write_text(out / name, f"{text}{text.splitlines()[-1].replace('5', '6', 1)}\n7,0.1")
    learnt(out)
    assert losses_of(out) == losses_of(tmp_path / "whole")
    assert (out / "metrics.jsonl").read_text().count("\n") == PLAN.steps
