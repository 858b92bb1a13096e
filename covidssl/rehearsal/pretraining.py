"""A pretraining rehearsed: what it would take, and the batch that there is memory for."""

from __future__ import annotations

from pathlib import Path

from torch.utils.data import Subset

from covidssl.clean_slices import StoredPictures, stored_pictures
from covidssl.experiments import PretrainConfig
from covidssl.pack import Pack
from covidssl.pretraining import PICTURE_BYTES, begin_pretraining, opened
from covidssl.quality import hold_out
from covidssl.rehearsal.batch_size import largest_batch, with_fitting_batch
from covidssl.rehearsal.forecast import Line, Products, forecast, weights_bytes
from covidssl.rehearsal.trial import Trial, one_process
from covidssl.runs import IfExists
from covidssl.store import Store
from covidssl.training import Machines


def rehearse_pretraining(
    config: PretrainConfig,
    data: Path | str | Store | Pack,
    out: Path,
    init: Path | None = None,
    device: str | Machines = "auto",
) -> list[Line]:
    """What a run would take, by a few of its own steps; nothing is written.

    Args:
        config: what to train, and how.
        data: a store's folder or address, the file of a pack, or one that is open.
        out: where the run would be written.
        init: weights to start from.
        device: where the network runs.

    Raises:
        CovidsslError: for what the run itself would refuse, and for too little memory.
    """
    if not config.pretext.teaches:
        return [Line("steps", f"none: pretext.kind {config.pretext.kind} teaches nothing")]
    trial, slices = _trial(config, data, init, device)
    network, plan = trial.state.network, config.training
    weights = weights_bytes(network) + weights_bytes(network, "encoder.")
    lines = [Line(slices.words, f"{trial.pictures} to learn from, {slices.left_out} left out")]
    held_out = len(slices) - trial.pictures
    if held_out:
        lines.append(Line("held out", f"{held_out} {slices.words}, on which quality is measured"))
    if config.quality.every is not None:
        weights *= 2  # the best are kept beside the last
        times = 2 + (plan.steps - 1) // config.quality.every
        lines.append(Line("quality", f"is measured {times} times, which is not in the time below"))
    pictures = 1 + plan.steps // config.pictures_every
    products = Products(weights, pictures * PICTURE_BYTES)
    return [*lines, *forecast(trial, out, products).lines()]


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
        return largest_batch(_trial(config, data, None, device)[0])

    return with_fitting_batch(config, out, if_exists, choose)


def _trial(
    config: PretrainConfig,
    data: Path | str | Store | Pack,
    init: Path | None,
    device: str | Machines,
) -> tuple[Trial, StoredPictures]:
    slices = stored_pictures(opened(data), config.frame)
    fabric, processes = one_process(device, config.training.precision)
    begun = begin_pretraining(config, slices, init, fabric.device, processes)
    learnt = Subset(slices, hold_out(slices, config.quality).learnt.tolist())
    made_of = (fabric, begun.state, learnt, begun.task, config.training, config.seed)
    return Trial(*made_of, processes), slices
