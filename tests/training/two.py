"""What each of two processes does, started by torchrun: both verbs, and what can go wrong.

`python -m torch.distributed.run --nproc-per-node 2 -m tests.training.two DATA OUT STEPS`
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from covidssl.checkpoint import save_checkpoint
from covidssl.commands import finetune, pretrain
from covidssl.config import load_config
from covidssl.errors import CovidsslError, NoRoomError
from covidssl.experiments import FinetuneConfig, PretrainConfig
from covidssl.files import write_json
from covidssl.finetuning import Places
from covidssl.learning import learn
from covidssl.training import StepReport, TrainingState, loader, make_fabric, process_of, train
from tests.training.small import PLAN, SEED, lesson, new_state, pictures, task
from tests.training.verbs import OF_A_VERB, SMALL, Verbs

FIRST_STEPS = 3


def alone(verbs: Verbs, verb: str, root: Path, steps: int) -> Path:
    """Run a verb in this process; its run folder."""
    settings = [*SMALL, *OF_A_VERB[verb], f"training.steps={steps}"]
    if verb == "pretrain":
        config = load_config(PretrainConfig, None, settings)
        return pretrain.main(config, verbs.store, root / verb, "resume", device="cpu")
    places = Places(root / verb, cache=verbs.cache, device="cpu")
    return finetune.main(
        load_config(FinetuneConfig, None, settings), verbs.labels, places, "resume"
    )


def first_steps() -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses of the first steps, and the gradient of the very first, by its parameters."""
    fabric, state, data = make_fabric("cpu", PLAN.precision), new_state(), pictures()
    names = [name for name, _ in state.network.named_parameters()]
    batches = loader(data, len(data), PLAN, SEED, 0, process_of(fabric))
    losses, gradient = [], {}
    for report in train(fabric, state, batches, task(), PLAN, SEED):
        losses.append(report.loss)
        if report.step == 1:
            kept = state.optimizer.state_dict()["state"]
            # Its first moment is a tenth of the gradient.
            gradient = {
                name: kept[k]["exp_avg"].clone(memory_format=torch.contiguous_format)
                for k, name in enumerate(names)
            }
        if report.step == FIRST_STEPS:
            return losses, gradient
    raise AssertionError("the plan is too short")


def refused(work: Callable[[], object]) -> dict[str, str]:
    """How a process was refused."""
    try:
        work()
    except CovidsslError as error:
        return {"kind": type(error).__name__, "said": str(error)}
    return {"kind": "", "said": ""}


def a_full_disk(out: Path, place: int) -> None:
    """The first process's hook fails, as where the disk is full."""

    def hook(report: StepReport, *_: object) -> None:
        if report.step == 2:
            raise NoRoomError("the disk is full")

    assert place >= 0
    learn(lesson(out), new_state(), hook, lambda _: None)


def a_checkpoint_that_one_does_not_see(out: Path, place: int) -> None:
    """Each process has a folder of its own, as on two machines without a shared one."""
    mine = out / str(place)
    state = new_state()
    if place == 0:
        state.step = 3
        save_checkpoint(mine / "checkpoints", state, {})
    learn(lesson(mine), new_state(), lambda *_: None, lambda _: None)


class Dying:
    """Ends its process in the middle of a step."""

    def __init__(self) -> None:
        self._task = task()
        self.parts, self.examples = self._task.parts, self._task.examples

    def loss(self, network: torch.nn.Module, examples: object) -> object:
        """Never comes back."""
        assert network is not examples
        sys.stdout.flush()
        os._exit(0)  # 0, or torchrun would end the other one too


def one_that_is_gone(out: Path, place: int) -> None:
    """The second process dies; the first one waits for its gradient."""
    what = lesson(out)
    if place == 1:
        what = replace(what, task=Dying())  # type: ignore[arg-type]
    state: TrainingState = new_state()
    learn(what, state, lambda *_: None, lambda _: None)


def main(root: Path, out: Path, steps: int) -> None:
    """Everything, one after the other; where one process dies comes last."""
    torch.set_num_threads(1)
    place = int(os.environ["RANK"])
    verbs = Verbs.__new__(Verbs)
    verbs.store, verbs.labels, verbs.cache = root / "store", root / "labels.csv", root / "cache"
    alone(verbs, "pretrain", out, steps)
    alone(verbs, "finetune", out, steps)
    losses, gradient = first_steps()
    said: dict[str, object] = {"losses": losses}
    if place == 0:
        save_file(gradient, out / "gradient.safetensors")
    ways = (a_full_disk, a_checkpoint_that_one_does_not_see, one_that_is_gone)
    for way in ways:
        said[way.__name__] = refused(partial(way, out / way.__name__, place))
        write_json(out / f"said-{place}.json", said)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
