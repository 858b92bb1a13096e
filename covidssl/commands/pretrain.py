"""`covidssl pretrain`: clean slices in, a restoration network and its encoder out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.tensorboard import SummaryWriter

from covidssl.clean_slices import StoredFrames, open_slices
from covidssl.commands.learning import Learning, Notes, last_tenth, learn
from covidssl.evidence import restoration_picture
from covidssl.experiments import PretrainConfig
from covidssl.files import write_bytes
from covidssl.networks.encoder import build_encoder
from covidssl.networks.unet import RestorationUNet
from covidssl.pack import Pack
from covidssl.pretext import RestorationBatch, Setting
from covidssl.randomness import initial_weights
from covidssl.runs import IfExists, RunFolder
from covidssl.starting import FROM_SCRATCH, must_agree
from covidssl.store import Store
from covidssl.training import Share, StepReport, TrainingState, make_fabric
from covidssl.weights import (
    EncoderCard,
    Origin,
    load_restoration,
    load_strictly,
    save_encoder_file,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)

_FIXED_STEP = 10**9  # no run gets so far: the pictures watched are none that are learnt from


def main(
    config: PretrainConfig,
    data: Path | str | Store | Pack,
    out: Path,
    if_exists: IfExists = "refuse",
    init: Path | None = None,
    device: str = "auto",
) -> Path:
    """Pretrain on a prepared store; gives the run folder.

    Args:
        config: what to train, and how.
        data: a store's folder or address (`s3://`), the file of a pack, or one that is open.
        out: the run folder.
        if_exists: what becomes of a folder that is there.
        init: weights to start from.
        device: where the network runs.

    Raises:
        UsageError: for an output that exists, or a store of another pixel kind.
        NonFiniteLossError: with the seed and step of the batch, which are written down too.
    """
    store = data if isinstance(data, (Store, Pack)) else open_slices(data)
    if isinstance(store, Store) and store.missing:
        log.warning("%d scans of the store are missing; the others are taken.", len(store.missing))
    slices = StoredFrames(store, config.frame)
    fabric = make_fabric(device, config.training.precision)
    state, init_sha256 = _new_state(config, init, fabric.device)
    with RunFolder(out, "pretrain", config, if_exists) as run:
        run.note_data(store=store.fingerprint, init=init_sha256)
        if run.done:
            log.info("%s: finished already.", out)
            return out
        log.info("%d clean slices, %d left out", len(slices), store.slices_dropped)
        origin = Origin(
            data_fingerprint=store.fingerprint,
            pictures=len(slices),
            steps=config.training.steps,
            seed=config.seed,
        )
        run.note(device=str(fabric.device))
        _learn(config, slices, state, out, fabric)
        last = last_tenth(out)
        _save(config, state, origin, last, out)
        run.note(
            summary={
                "slices": len(slices),
                "slices left out": store.slices_dropped,
                "image-steps": state.step * config.training.batch_size,
                **{name: round(value, 5) for name, value in last.items()},
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
        started, card = load_restoration(
            init / "restoration.safetensors" if init.is_dir() else init
        )
        must_agree(init, "frame", config.frame, card.frame)
        must_agree(init, "encoder", config.encoder, card.encoder)
        load_strictly(network, started.state_dict(), f"{init.name}, to start from")
        sha256 = card.sha256
    # Before the optimiser: its state must lie where the weights are when a run is resumed.
    network.to(device)
    plan = config.training
    optimizer = torch.optim.AdamW(
        network.parameters(), plan.learning_rate, weight_decay=plan.weight_decay
    )
    return TrainingState(network, optimizer), sha256


def _learn(
    config: PretrainConfig, slices: StoredFrames, state: TrainingState, out: Path, fabric: Fabric
) -> None:
    setting = Setting(config.frame.window_hu, len(config.encoder.channels), config.seed)
    task = config.pretext.task(setting)
    fixed = slices.spread(4)
    watched = task.examples(fixed, Share(_FIXED_STEP, 0, len(fixed.frames)))

    def watch(report: StepReport, _notes: Notes, _board: SummaryWriter) -> None:
        if report.step % config.pictures_every == 0 or report.step == config.training.steps:
            _picture(state, watched, out / "pictures" / f"step-{report.step:06d}.png")

    what = Learning(
        out, fabric, slices, task, config.training, config.seed, config.checkpoint_every
    )
    learn(what, state, watch, lambda _notes: None)


@torch.no_grad()
def _picture(state: TrainingState, watched: RestorationBatch, path: Path) -> None:
    state.network.eval()
    device = next(state.network.parameters()).device
    restored = state.network(watched.corrupted.to(device)).unit.cpu()
    write_bytes(path, restoration_picture(watched.corrupted, restored, watched.clean))


def _save(
    config: PretrainConfig,
    state: TrainingState,
    origin: Origin,
    metrics: dict[str, float],
    out: Path,
) -> None:
    network, weights = state.network, state.weights()
    if not isinstance(network, RestorationUNet):
        raise TypeError("Pretraining trains a RestorationUNet.")
    card = EncoderCard(
        holds="restoration",
        encoder=config.encoder,
        frame=config.frame,
        trained_on=origin,
        metrics={name: metrics[name] for name in ("loss", "restoration", "lesion_map")},
        sha256="",
    )
    save_encoder_file(out / "restoration.safetensors", network, weights, card)
    prefix = "encoder."
    encoder = {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
    card = card.model_copy(update={"holds": "encoder"})
    save_encoder_file(out / "encoder.safetensors", network.encoder, encoder, card)
