"""`covidssl pretrain`: clean slices in, a restoration network and its encoder out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.data import Subset
from torch.utils.tensorboard import SummaryWriter

from covidssl.clean_slices import StoredPictures, open_slices, stored_pictures
from covidssl.commands.learning import Learning, Notes, last_tenth, learn
from covidssl.commands.watching import (
    BEST_FILES,
    Kept,
    Watching,
    begin_watching,
    quality_summary,
)
from covidssl.errors import UsageError
from covidssl.evidence import columns_picture, restoration_picture
from covidssl.experiments import PretrainConfig
from covidssl.files import write_bytes
from covidssl.networks.encoder import build_encoder
from covidssl.networks.unet import RestorationUNet
from covidssl.pack import Pack
from covidssl.pretext import PretextTask, Setting
from covidssl.quality import hold_out
from covidssl.randomness import initial_weights
from covidssl.rehearsal import (
    Line,
    Products,
    Trial,
    forecast,
    largest_batch,
    one_process,
    weights_bytes,
    with_fitting_batch,
)
from covidssl.runs import IfExists
from covidssl.shared_runs import open_run
from covidssl.starting import FROM_SCRATCH, start_pretraining
from covidssl.store import Store
from covidssl.training import Examples, Machines, Share, StepReport, TrainingState, make_fabric
from covidssl.weights import (
    EncoderCard,
    Origin,
    save_encoder_file,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)

_PICTURE_BYTES = 800_000  # of a page of four slices of textured lung; most are smaller
_FIXED_STEP = 10**9  # no run gets so far: the pictures watched are none that are learnt from


def main(
    config: PretrainConfig,
    data: Path | str | Store | Pack,
    out: Path,
    if_exists: IfExists = "refuse",
    init: Path | None = None,
    device: str | Machines = "auto",
) -> Path:
    """Pretrain on a prepared store; gives the run folder.

    Args:
        config: what to train, and how.
        data: a store's folder or address (`s3://`), the file of a pack, or one that is open.
        out: the run folder.
        if_exists: what becomes of a folder that is there.
        init: weights to start from.
        device: where the network runs; with several processes each of them comes here.

    Raises:
        UsageError: for an output that exists, or a store of another pixel kind.
        NonFiniteLossError: with the seed and step of the batch, which are written down too.
    """
    store = data if isinstance(data, (Store, Pack)) else open_slices(data)
    if isinstance(store, Store) and store.missing:
        log.warning("%d scans of the store are missing; the others are taken.", len(store.missing))
    slices = stored_pictures(store, config.frame)
    fabric = make_fabric(device, config.training.precision)
    config = fabric.broadcast(config)  # its batch may have been fitted to memory, by the first one
    _must_have_whole_batches(config, fabric.world_size)
    state, init_sha256 = _new_state(config, init, fabric.device)
    with open_run(fabric, out, "pretrain", config, if_exists) as run:
        run.note_data(store=store.fingerprint, init=init_sha256)
        if run.done:
            log.info("%s: finished already.", out)
            return out
        log.info("%d clean %s, %d left out", len(slices), slices.words, slices.left_out)
        watching = begin_watching(config, state.network, slices, run)
        origin = Origin(
            data_fingerprint=store.fingerprint,
            pictures=len(watching.learnt) if config.pretext.teaches else 0,
            steps=0,
            seed=config.seed,
        )
        run.note(device=str(fabric.device))
        kept = _learn(config, watching, state, origin, fabric)
        if not run.writes:
            return out
        last = last_tenth(out) if config.pretext.teaches else {}
        kept = kept._replace(metrics=last | kept.metrics)
        _save(config, state.network, kept, origin, out)
        run.note(
            summary={
                slices.words: len(slices),
                f"{slices.words} left out": slices.left_out,
                "image-steps": state.step * config.training.batch_size,
                **{name: round(value, 5) for name, value in last.items()},
                **quality_summary(watching, state, kept),
            }
        )
    return out


def _new_state(
    config: PretrainConfig, init: Path | None, device: torch.device
) -> tuple[TrainingState, str]:
    """The first state, and the SHA-256 of the weights that it starts from."""
    with initial_weights(config.seed):
        network = config.pretext.network(build_encoder(config.encoder))
    sha256 = FROM_SCRATCH
    if init is not None:
        sha256 = start_pretraining(network, init, config.frame, config.encoder)
    # Before the optimiser: its state must lie where the weights are when a run is resumed.
    network.to(device)
    plan = config.training
    optimizer = torch.optim.AdamW(
        (parameter for parameter in network.parameters() if parameter.requires_grad),
        plan.learning_rate,
        weight_decay=plan.weight_decay,
    )
    return TrainingState(network, optimizer), sha256


def rehearse(
    config: PretrainConfig,
    data: Path | str | Store | Pack,
    out: Path,
    init: Path | None = None,
    device: str | Machines = "auto",
) -> list[Line]:
    """What a run would take, by a few of its own steps; nothing is written.

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
    products = Products(weights, pictures * _PICTURE_BYTES)
    return [*lines, *forecast(trial, out, products).lines()]


def fitted(
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
    store = data if isinstance(data, (Store, Pack)) else open_slices(data)
    slices = stored_pictures(store, config.frame)
    fabric, processes = one_process(device, config.training.precision)
    _must_have_whole_batches(config, processes)
    state, _ = _new_state(config, init, fabric.device)
    learnt = Subset(slices, hold_out(slices, config.quality).learnt.tolist())
    task, plan = _task(config), config.training
    return Trial(fabric, state, learnt, task, plan, config.seed, processes), slices


def _must_have_whole_batches(config: PretrainConfig, processes: int) -> None:
    if config.pretext.needs_whole_batch and processes > 1:
        raise UsageError(
            f"pretext.kind {config.pretext.kind} compares the pictures of a batch with each other, "
            f"and {processes} processes would each see a part of it: use one device."
        )


def _task(config: PretrainConfig) -> PretextTask:
    setting = Setting(config.frame.window_hu, len(config.encoder.channels), config.seed)
    return config.pretext.task(setting)


def _learn(
    config: PretrainConfig,
    watching: Watching,
    state: TrainingState,
    origin: Origin,
    fabric: Fabric,
) -> Kept:
    """Learn, and give the weights that the run hands on."""
    if not config.pretext.teaches:
        watching.first(state)
        return watching.kept(state, {})
    task, out = _task(config), watching.out
    fixed = watching.slices.spread(4)
    watched = task.examples(fixed, Share(_FIXED_STEP, 0, len(fixed.frames)))

    def watch(report: StepReport, notes: Notes, board: SummaryWriter) -> bool:
        if report.step % config.pictures_every == 0 or report.step == config.training.steps:
            _picture(task, state, watched, out / "pictures" / f"step-{report.step:06d}.png")
        look = watching.step(state, report, notes, board)
        if look.best is not None:
            _save(config, state.network, look.best, origin, out, BEST_FILES)
        return look.stop

    what = Learning(
        out, fabric, watching.learnt, task, config.training, config.seed, config.checkpoint_every
    )
    notes = learn(what, state, watch, lambda _notes: watching.first(state))
    return watching.kept(state, notes)


@torch.no_grad()
def _picture(task: PretextTask, state: TrainingState, watched: Examples, path: Path) -> None:
    state.network.eval()
    device = next(state.network.parameters()).device
    examples = type(watched)(*(tensor.to(device) for tensor in watched))
    shown = task.shown(state.network, examples)
    draw = restoration_picture if "restored" in shown else columns_picture
    write_bytes(path, draw(shown))


def _save(
    config: PretrainConfig,
    network: nn.Module,
    kept: Kept,
    origin: Origin,
    out: Path,
    files: str = "",
) -> None:
    """Write the encoder and, where there is one, the restoration; `files` begins their names."""
    weights, metrics = kept.weights, kept.metrics
    card = EncoderCard(
        holds="encoder",
        encoder=config.encoder,
        pretext=config.pretext.kind,
        frame=config.frame,
        trained_on=origin.model_copy(update={"steps": kept.step}),
        metrics={name: value for name, value in metrics.items() if name != "images_per_second"},
        sha256="",
    )
    if isinstance(network, RestorationUNet):
        whole = {"holds": "restoration", "lesion_map": network.lesion_map}
        card = card.model_copy(update=whole)
        save_encoder_file(out / f"{files}restoration.safetensors", network, weights, card)
    prefix = "encoder."
    encoder = {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
    card = card.model_copy(update={"holds": "encoder"})
    part = network.get_submodule("encoder")
    save_encoder_file(out / f"{files}encoder.safetensors", part, encoder, card)
