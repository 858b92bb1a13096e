"""A pretraining rehearsed: what it would take, and the batch that there is memory for."""

from __future__ import annotations

from pathlib import Path

from torch.utils.data import Subset

from covidssl.checkpoint import newest_step
from covidssl.clean_slices import stored_pictures
from covidssl.experiments import PretrainConfig
from covidssl.pack import Pack
from covidssl.pretraining import (
    PICTURE_BYTES,
    Pretraining,
    begin_pretraining,
    labelled_set,
    must_have_pictures,
    opened,
)
from covidssl.quality import hold_out
from covidssl.rehearsal.batch_size import largest_batch, with_fitting_batch
from covidssl.rehearsal.forecast import Line, Products, forecast, weights_bytes
from covidssl.rehearsal.trial import Trial, one_process
from covidssl.runs import IfExists
from covidssl.shared_runs import rehearsed_run
from covidssl.store import Store
from covidssl.training import Machines


def rehearse_pretraining(
    config: PretrainConfig,
    data: Path | str | Store | Pack,
    out: Path,
    init: Path | None = None,
    device: str | Machines = "auto",
    if_exists: IfExists = "refuse",
) -> list[Line]:
    """What a run would take, by a few of its own steps; nothing is written.

    Args:
        config: what to train, and how.
        data: a store's folder or address, the file of a pack, or one that is open.
        out: where the run would be written.
        init: weights to start from.
        device: where the network runs.
        if_exists: what becomes of a folder that is there.

    Raises:
        CovidsslError: for what the run itself would refuse, and for too little memory.
    """
    run, store = rehearsed_run(out, "pretrain", config, if_exists), opened(data)
    trial, begun = _trial(config, store, init, device)
    slices, plan = begun.slices, config.training
    must_have_pictures(config, trial.pictures)
    labelled_set(config, trial.state.network, reads=False)
    run.note_data(store=store.fingerprint, init=begun.init_sha256)
    if run.done:
        return [Line("steps", "none: the run is finished already")]
    if not config.pretext.teaches:
        return [Line("steps", f"none: pretext.kind {config.pretext.kind} teaches nothing")]
    taken = newest_step(out / "checkpoints") if run.resumed else 0
    products = _products(config, trial, taken)
    lines = [Line(slices.words, f"{trial.pictures} to learn from, {slices.left_out} left out")]
    held_out = len(slices) - trial.pictures
    if held_out:
        lines.append(Line("held out", f"{held_out} {slices.words}, on which quality is measured"))
    if config.quality.every is not None:
        times = _evaluations(taken, plan.steps, config.quality.every)
        lines.append(Line("quality", f"is measured {times} times, which is not in the time below"))
    return [*lines, *forecast(trial, out, products, taken).lines()]


def _products(config: PretrainConfig, trial: Trial, taken: int) -> Products:
    network, steps = trial.state.network, config.training.steps
    weights = weights_bytes(network) + weights_bytes(network, "encoder.")
    if config.quality.every is not None:
        weights *= 2  # the best are kept beside the last
    pictures = 1 + steps // config.pictures_every - taken // config.pictures_every
    return Products(weights, pictures * PICTURE_BYTES)


def _evaluations(taken: int, steps: int, every: int) -> int:
    """How often quality is measured after so many steps: at first, when it is due, at the end."""
    due = steps // every - taken // every
    return int(taken == 0) + due + int(steps % every != 0 and taken < steps)


def fitted_pretraining(
    config: PretrainConfig,
    data: Path | str | Store | Pack,
    out: Path,
    if_exists: IfExists = "refuse",
    device: str | Machines = "auto",
) -> PretrainConfig:
    """The configuration with the largest batch that the device has memory for.

    Raises:
        CovidsslError: for what the run itself would refuse, and where no picture fits.
    """

    def choose() -> int:
        trial = _trial(config, opened(data), None, device)[0]
        return largest_batch(trial, config.pretext.largest_batch(trial.pictures))

    return with_fitting_batch(config, out, if_exists, choose)


def _trial(
    config: PretrainConfig, data: Store | Pack, init: Path | None, device: str | Machines
) -> tuple[Trial, Pretraining]:
    slices = stored_pictures(data, config.frame)
    fabric, processes = one_process(device, config.training.precision)
    begun = begin_pretraining(config, slices, init, fabric.device, processes)
    learnt = Subset(slices, hold_out(slices, config.quality).learnt.tolist())
    made_of = (fabric, begun.state, learnt, begun.task, config.training, config.seed)
    return Trial(*made_of, processes), begun
