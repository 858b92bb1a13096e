"""Two processes learn what one would: the same pictures, losses and weights."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from safetensors.numpy import load_file

from covidssl.cli.options import (
    Devices,
    Precisions,
    Strategies,
    machines,
    with_precision,
)
from covidssl.errors import UsageError
from covidssl.training import (
    Machines,
    Precision,
    Process,
    StepBatches,
    TrainingPlan,
    make_fabric,
    process_of,
    started_by_first,
)
from tests.training.small import PLAN, SEED
from tests.training.two import alone, first_steps
from tests.training.verbs import (
    ROOT,
    WEIGHTS,
    Verbs,
    begun,
    columns,
    environment,
    rows_of,
)

NEAR = 1e-4
STEPS = 10


def losses_of(out: Path) -> list[float]:
    return [float(loss) for (loss,) in columns(out, "loss")]


def check_alike(verb: str, one: Path, two: Path) -> None:
    assert losses_of(one) == pytest.approx(losses_of(two), abs=NEAR)
    mine, theirs = load_file(one / WEIGHTS[verb]), load_file(two / WEIGHTS[verb])
    assert set(mine) == set(theirs)
    for name, weights in mine.items():
        assert np.abs(weights - theirs[name]).max() < NEAR, name


@pytest.mark.parametrize("of", [1, 2, 3, 6])
def test_all_shares_together_are_the_batch_of_one_in_order(of: int) -> None:
    whole = list(StepBatches(20, PLAN, SEED, 2))
    shares = [list(StepBatches(20, PLAN, SEED, 2, Process(place, of))) for place in range(of)]
    assert [sum(parts, []) for parts in zip(*shares, strict=True)] == whole


def test_a_batch_that_cannot_be_dealt_evenly_is_refused() -> None:
    with pytest.raises(UsageError, match="batch_size 6 cannot be dealt evenly to 4.*batch_size=4"):
        StepBatches(20, PLAN, SEED, 0, Process(0, 4))


@pytest.fixture(scope="module")
def two(verbs: Verbs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes of torchrun have done, once for all tests; see `tests.training.two`."""
    out = tmp_path_factory.mktemp("two")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                "--nproc-per-node", "2", "-m", "tests.training.two"]  # fmt: skip
    done = subprocess.run(
        [*launcher, str(verbs.store.parent), str(out), str(STEPS)],
        cwd=ROOT, env=environment() | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


def said_by(two: Path, place: int, what: str) -> tuple[str, str]:
    said = json.loads((two / f"said-{place}.json").read_text())[what]
    return said["kind"], said["said"]


@pytest.mark.slow
@pytest.mark.parametrize("verb", WEIGHTS)
def test_two_processes_of_torchrun_learn_what_one_does(
    verbs: Verbs, two: Path, tmp_path: Path, verb: str
) -> None:
    check_alike(verb, alone(verbs, verb, tmp_path, STEPS), two / verb)
    assert json.loads((two / verb / "record.json").read_text())["status"] == "done"


@pytest.mark.slow
def test_the_first_losses_and_the_gradient_of_two_are_those_of_one_up_to_rounding(
    two: Path,
) -> None:
    losses, gradient = first_steps()
    assert json.loads((two / "said-0.json").read_text())["losses"] == pytest.approx(
        losses, rel=1e-5
    )
    theirs = load_file(two / "gradient.safetensors")
    largest = max(float(one.abs().max()) for one in gradient.values())
    for name, mine in gradient.items():
        assert np.abs(mine.numpy() - theirs[name]).max() < 1e-5 * largest, name


@pytest.mark.slow
def test_what_fails_in_the_first_process_ends_the_other_with_a_word(two: Path) -> None:
    assert said_by(two, 0, "a_full_disk") == ("NoRoomError", "the disk is full")
    kind, said = said_by(two, 1, "a_full_disk")
    assert (kind, said) == (
        "EndedElsewhereError",
        "The run was ended by another of its processes, which says why.",
    )


@pytest.mark.slow
def test_none_goes_on_from_another_step_than_the_first(two: Path) -> None:
    kind, said = said_by(two, 1, "a_checkpoint_that_one_does_not_see")
    assert kind == "TrainingError"
    assert "step-00000003.safetensors: the first process goes on from this" in said
    assert "--out must lie where all machines see it" in said
    assert said_by(two, 0, "a_checkpoint_that_one_does_not_see")[0] == "TrainingError"


@pytest.mark.slow
def test_a_process_that_is_gone_is_told_of_plainly(two: Path) -> None:
    kind, said = said_by(two, 0, "one_that_is_gone")
    assert kind == "TrainingError"
    assert "Another process of the run is gone" in said


@pytest.mark.slow
def test_two_processes_stop_at_a_signal_and_one_goes_on(verbs: Verbs, tmp_path: Path) -> None:
    """The command starts the second process itself; the signal reaches the first one alone."""
    out, steps = tmp_path / "stopped" / "pretrain", 24
    command = verbs.command("pretrain", out, [f"training.steps={steps}"], "--devices", "2")
    process = begun(command, out, rows=3)
    process.send_signal(signal.SIGUSR1)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGUSR1, said
    assert said.count("stopped by SIGUSR1") >= 1
    taken = rows_of(out)
    assert 3 <= taken < steps
    assert json.loads((out / "record.json").read_text())["status"] == "stopped"
    newest = max((out / "checkpoints").glob("step-*"))
    assert newest.name == f"step-{taken:08d}.safetensors"
    gone_on, whole = (alone(verbs, "pretrain", tmp_path / name, steps) for name in ("stopped", "w"))
    assert losses_of(gone_on) == pytest.approx(losses_of(whole), abs=NEAR)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Machines("cpu", strategy="fsdp"), "fsdp needs CUDA.*--strategy ddp"),
        (Machines("cpu", strategy="tp"), "expected auto, ddp or fsdp"),  # type: ignore[arg-type]
        (Machines("cpu", devices=0), "expected 1 or more"),
        (Machines("cpu", nodes=0), "expected 1 or more"),
        (Machines("tpu"), "expected auto, cpu or cuda"),
    ],
)
def test_machines_that_cannot_be_had_are_refused(wanted: Machines, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_fabric(wanted, "32-true")


def test_processes_of_a_launcher_are_not_to_be_contradicted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "2")
    with pytest.raises(UsageError, match="srun started 2 processes on each of 2 machines.*leave"):
        make_fabric(Machines("cpu", devices=3), "32-true")


def test_the_script_for_slurm_is_a_script() -> None:
    subprocess.run(["bash", "-n", str(ROOT / "docs" / "slurm.sbatch")], check=True)


def test_options_of_machines_are_checked() -> None:
    with pytest.raises(UsageError, match="--devices two: expected a whole number"):
        machines(Devices.CPU, "two", 1, Strategies.AUTO)
    wanted = machines(Devices.CPU, "2", 3, Strategies.DDP)
    assert wanted == Machines("cpu", 2, 3, "ddp")


def test_the_first_process_alone_has_not_been_started_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert not started_by_first()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert started_by_first()


def test_precisions_of_the_command_are_those_of_a_plan() -> None:
    assert {one.value for one in Precisions} == set(get_args(Precision))
    assert with_precision(["seed=1"], Precisions.BRAIN) == [
        "seed=1",
        "training.precision=bf16-mixed",
    ]


def test_half_precision_without_cuda_is_refused() -> None:
    with pytest.raises(UsageError, match="16-mixed needs CUDA; on a CPU take bf16-mixed"):
        make_fabric("cpu", "16-mixed")


def test_every_device_of_a_cpu_is_one_process() -> None:
    assert process_of(make_fabric(Machines("cpu", "auto"), "32-true")) == Process(0, 1)


def test_a_plan_keeps_nothing_of_how_many_processes_there_are() -> None:
    assert not {"devices", "nodes", "strategy"} & set(TrainingPlan.model_fields)
