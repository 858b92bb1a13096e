"""What only a CUDA device can show of the loop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from covidssl.checkpoint import load_checkpoint, save_checkpoint
from tests.training.small import PLAN, losses, new_state, run
from tests.training.verbs import ROOT, Verbs, columns, done, environment

pytestmark = pytest.mark.gpu


def test_examples_made_beside_the_network_give_the_losses_of_a_cpu() -> None:
    here = losses(run(new_state(device="cuda"), device="cuda"))
    assert here == pytest.approx(losses(run(new_state())), abs=1e-3)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_run_goes_on_with_nearly_the_same_losses(tmp_path: Path, precision: str) -> None:
    plan = PLAN.model_copy(update={"precision": precision})
    whole = losses(run(new_state(plan, "cuda"), plan, device="cuda"))
    state = new_state(plan, "cuda")
    first = losses(run(state, plan, 5, "cuda"))
    save_checkpoint(tmp_path, state, {})
    again = new_state(plan, "cuda")
    load_checkpoint(tmp_path, again)
    assert again.scaler == state.scaler
    assert bool(again.scaler) == (precision == "16-mixed")
    assert first + losses(run(again, plan, device="cuda")) == pytest.approx(whole, rel=1e-2)


def test_a_compiled_network_has_the_losses_of_a_plain_one() -> None:
    plan = PLAN.model_copy(update={"compile": True})
    compiled = losses(run(new_state(plan, "cuda"), plan, device="cuda"))
    assert compiled == pytest.approx(losses(run(new_state(device="cuda"), device="cuda")), abs=1e-2)
    names = set(new_state().network.state_dict())
    state = new_state(plan, "cuda")
    run(state, plan, 1, "cuda")
    assert set(state.network.state_dict()) == names


def test_a_sharded_network_learns_what_a_whole_one_does(verbs: Verbs, tmp_path: Path) -> None:
    """With one device there is one shard: what it shows is that the parts come together again."""
    count = torch.cuda.device_count()
    outs = {"ddp": tmp_path / "ddp", "fsdp": tmp_path / "fsdp"}
    for strategy, out in outs.items():
        command = verbs.command(
            "pretrain", out, ["training.steps=6", f"training.batch_size={4 * count}"],
            "--devices", str(count), "--strategy", strategy,
        )  # fmt: skip
        command[command.index("cpu")] = "cuda"
        ended = done(command)
        assert ended.returncode == 0, ended.stderr
    one, two = ([float(loss) for (loss,) in columns(out, "loss")] for out in outs.values())
    assert one == pytest.approx(two, abs=1e-3)


def test_a_run_of_every_device_is_started_by_torchrun(verbs: Verbs, tmp_path: Path) -> None:
    count = torch.cuda.device_count()
    out = tmp_path / "out"
    settings = ["training.steps=4", f"training.batch_size={4 * count}"]
    arguments = verbs.command("pretrain", out, settings)[3:]
    arguments[arguments.index("cpu")] = "cuda"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                "--nproc-per-node", str(count), "-m", "covidssl.cli"]  # fmt: skip
    subprocess.run([*launcher, *arguments], cwd=ROOT, env=environment(), check=True)
    assert len(columns(out, "loss")) == 4
