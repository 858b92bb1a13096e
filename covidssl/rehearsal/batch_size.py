"""The batch that a device has memory for, found by steps of growing size."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import torch
from pydantic import ValidationError
from torch.utils.data import Dataset

from covidssl.config import load_config
from covidssl.errors import TrainingError, UsageError
from covidssl.experiments import FinetuneConfig, PretrainConfig
from covidssl.files import size_in_words
from covidssl.rehearsal.memory import free_bytes
from covidssl.rehearsal.trial import Trial, memory_of
from covidssl.runs import IfExists
from covidssl.training import Task, TrainingPlan, TrainingState

if TYPE_CHECKING:
    from lightning_fabric import Fabric

C = TypeVar("C", PretrainConfig, FinetuneConfig)
P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger(__name__)

MOST_PICTURES = 512
"""A batch is never chosen larger: the learning rates of configurations are not made for it."""

_SHARE = 0.8
_FEW, _SOME = 2, 8
_TELLING = 32 * 2**20
"""A difference in memory that is no noise of the system's."""


def with_fitting_batch(config: C, out: Path, if_exists: IfExists, choose: Callable[[], int]) -> C:
    """The configuration of a run whose batch is to be chosen.

    A run that is gone on with keeps its own, which stands in its `config.yaml`.

    Args:
        config: whose batch is not asked.
        out: the run folder.
        if_exists: what becomes of a folder that is there.
        choose: measures, and gives the batch.

    Raises:
        UsageError: when the rest of the configuration does not go with that batch.
    """
    there = out.exists() and not (out.is_dir() and not any(out.iterdir()))
    if there and if_exists == "refuse":
        return config  # nothing is measured for a run that will be refused
    size = _own(type(config), out / "config.yaml") if if_exists == "resume" else None
    training = config.training.model_copy(update={"batch_size": size or choose()})
    try:
        return type(config).model_validate({**dict(config), "training": training})
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"--batch-size auto: {training.batch_size} pictures fit the memory, and the "
            f"configuration does not go with that batch: {said}."
        ) from error


def _own(kind: type[C], file: Path) -> int | None:
    try:
        return load_config(kind, file).training.batch_size if file.is_file() else None
    except UsageError:
        return None  # the run folder says why it cannot be gone on with


def ladder(most: int) -> list[int]:
    """Sizes up to `most`, each a power of two or one and a half of one: 1, 2, 3, 4, 6, 8, 12."""
    powers = [2**k for k in range(most.bit_length())]
    return sorted({n for power in powers for n in (power, power * 3 // 2) if n <= most})


def largest_batch(trial: Trial, most: int | None = None, free: int | None = None) -> int:
    """The largest batch whose step takes at most 80 % of the memory that is free.

    A GPU is tried with growing batches until one is too large. On a CPU, where a batch that is too
    large would end this process or other people's, two small ones are measured, and the rest is
    reckoned: memory grows by the same for every picture.

    Args:
        trial: the run.
        most: pictures that there are, where `trial` holds only some of them.
        free: bytes that may be counted on; None: as many as the device has.

    Raises:
        TrainingError: when not even one picture fits.
    """
    device = trial.fabric.device
    room = _SHARE * (free_bytes(device) if free is None else free)
    many = trial.processes
    least = _least(trial)
    sizes = ladder(max(least, min(most or trial.pictures, MOST_PICTURES) // many))
    sizes = [size for size in sizes if size >= least]
    fits = _reckoned(trial, sizes, room) if device.type == "cpu" else _grown(trial, sizes, room)
    if not fits:
        raise TrainingError(
            f"A step on one picture takes more than 80 % of the memory that is free on "
            f"{device} ({size_in_words(round(room / _SHARE))}). Take a smaller frame or encoder, "
            f"or free some memory."
        )
    each = f", {fits[-1]} on each of {many} devices," if many > 1 else ""
    log.info(
        "--batch-size auto: %d pictures a step%s fit 80 %% of the free memory.",
        many * fits[-1], each,
    )  # fmt: skip
    return many * fits[-1]


def _least(trial: Trial) -> int:
    """Two, where the pictures of a batch are compared with each other; it has no parts then."""
    pretext = getattr(trial.task, "plan", None)
    return 2 if getattr(pretext, "needs_whole_batch", False) else 1


def _reckoned(trial: Trial, sizes: list[int], room: float) -> list[int]:
    fixed, each = _line(trial, sizes)
    return [size for size in sizes if fixed + each * size <= room]


def _line(trial: Trial, sizes: list[int]) -> tuple[float, float]:
    """Bytes of a step without pictures, and of each picture."""
    memory_of(trial, min(_FEW, sizes[-1]))  # what is loaded and compiled once belongs to no picture
    few, some = (min(size, sizes[-1]) for size in (_FEW, _SOME))
    less, more = memory_of(trial, few), memory_of(trial, some)
    while more - less < _TELLING and some < sizes[-1]:
        some = min(4 * some, sizes[-1])
        more = memory_of(trial, some)
    if more <= less:
        return 0.0, more / some
    each = (more - less) / (some - few)
    return max(0.0, more - each * some), each


def _grown(trial: Trial, sizes: list[int], room: float) -> list[int]:
    fits: list[int] = []
    for size in sizes:
        if not _fits(trial, size, room):
            break
        fits.append(size)
    return fits


def _fits(trial: Trial, size: int, room: float = math.inf, accumulate: int | None = None) -> bool:
    taken = None
    with suppress(torch.OutOfMemoryError):
        taken = memory_of(trial, size, accumulate)
    if trial.fabric.device.type == "cuda":
        torch.cuda.empty_cache()
    return taken is not None and taken <= room


def out_of_memory(trial: Trial) -> TrainingError:
    """The refusal of a run whose device ran out of memory: it says what would fit.

    Nothing of the step that failed may be held any more, or it would count as taken. What is
    said to fit was tried, where one process runs alone.
    """
    plan, device = trial.plan, trial.fabric.device
    began = f"{device} has not enough memory for batches of {plan.batch_size} pictures"
    if plan.accumulate > 1:
        began += f" in {plan.accumulate} parts"
    if trial.fabric.world_size > 1:
        # The other processes wait in their own step: no step can be tried here.
        return TrainingError(f"{began}. {_untried(trial)}")
    trial.state.optimizer.zero_grad(set_to_none=True)
    smaller = [n for n in ladder(plan.batch_size) if _least(trial) <= n < plan.batch_size]
    fit = next((size for size in reversed(smaller) if _fits(trial, size)), None)
    if fit is None:
        return TrainingError(
            f"{began}, and not for a smaller one either. Take a smaller frame or encoder, or "
            f"free memory on {device}."
        )
    said = f"{began}. {fit} fit: --batch-size {fit}"
    if _least(trial) > 1:
        return TrainingError(f"{said}. It starts a run anew: choose another --out or --overwrite.")
    parts = min(math.ceil(plan.batch_size * plan.accumulate / fit), plan.batch_size)
    if _fits(trial, plan.batch_size, accumulate=parts):
        said += (
            f", or the same batch in {parts} parts, which changes memory, and the result by "
            f"rounding alone: --set training.accumulate={parts}"
        )
    return TrainingError(f"{said}. Both start a run anew: choose another --out or --overwrite.")


def _untried(trial: Trial) -> str:
    """What may fit, of a run of several processes."""
    plan, many = trial.plan, trial.fabric.world_size
    each = plan.batch_size // many
    said = []
    if each // 2 >= _least(trial):
        said.append(f"a smaller batch, such as --batch-size {each // 2 * many}")
    if plan.accumulate < each and _least(trial) == 1:
        said.append(
            f"the same batch in parts, which changes memory, and the result by rounding alone: "
            f"--set training.accumulate={min(2 * plan.accumulate, each)}"
        )
    if not said:
        return "Take a smaller frame or encoder, or devices with more memory."
    return f"Try {', or '.join(said)}. It starts a run anew: choose another --out or --overwrite."


class Run(Protocol):
    """A run that learns, as far as its batch can be tried again."""

    @property
    def fabric(self) -> Fabric: ...
    @property
    def data(self) -> Dataset[Any]: ...
    @property
    def task(self) -> Task[Any]: ...
    @property
    def plan(self) -> TrainingPlan: ...
    @property
    def seed(self) -> int: ...


W = TypeVar("W", bound=Run)


def saying_what_fits(
    learn: Callable[Concatenate[W, TrainingState, P], R],
) -> Callable[Concatenate[W, TrainingState, P], R]:
    """Let a run whose device runs out of memory end with a refusal that says which batch fits."""

    @wraps(learn)
    def guarded(what: W, state: TrainingState, /, *more: P.args, **named: P.kwargs) -> R:
        try:
            return learn(what, state, *more, **named)
        except torch.OutOfMemoryError:
            log.warning("The device ran out of memory; trying what would fit ...")
        # Here nothing holds the failed step any more, as its exception did.
        raise out_of_memory(Trial(what.fabric, state, what.data, what.task, what.plan, what.seed))

    return guarded
