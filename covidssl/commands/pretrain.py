"""`covidssl pretrain`: clean slices in, a restoration network and its encoder out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from torch.utils.tensorboard import SummaryWriter

from covidssl.clean_slices import stored_pictures
from covidssl.counting import counted
from covidssl.experiments import PretrainConfig
from covidssl.learning import Learning, Notes, Together, last_tenth, learn
from covidssl.pack import Pack
from covidssl.pretraining import (
    BEST_FILES,
    HandingOn,
    Kept,
    PicturesWatched,
    Pretraining,
    Watching,
    begin_pretraining,
    begin_watching,
    labelled_set,
    must_have_pictures,
    opened,
    quality_summary,
)
from covidssl.quality import ProbeSet, hold_out
from covidssl.runs import IfExists, look_at_run
from covidssl.shared_runs import open_run
from covidssl.store import Store
from covidssl.training import Machines, StepReport, make_fabric
from covidssl.weights import Origin

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)

NO_LABELS = "none"


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
    store = opened(data)
    if isinstance(store, Store) and store.missing:
        missing = counted(len(store.missing), "scan")
        log.warning("Missing in the store: %s; the others are taken.", missing)
    slices = stored_pictures(store, config.frame)
    fabric = make_fabric(device, config.training.precision)
    config = fabric.broadcast(config)  # its batch may have been fitted to memory, by the first one
    begun = begin_pretraining(config, slices, init, fabric.device, fabric.world_size)
    must_have_pictures(config, len(hold_out(slices, config.quality).learnt))
    state, teaches = begun.state, config.pretext.teaches
    # Before the folder is made: what is refused here can be put right, and asked for again.
    probed = _labelled_set(begun, fabric, lambda: look_at_run(out, "pretrain", config, if_exists))
    with open_run(fabric, out, "pretrain", config, if_exists) as run:
        run.note_data(store=store.fingerprint, init=begun.init_sha256)
        if run.writes and config.quality.every is not None:
            run.note_data(probe=probed.frames.fingerprint if probed else NO_LABELS)
        if run.done:
            log.info("%s: finished already.", out)
            return out
        log.info("%d clean %s, %d left out", len(slices), slices.words, slices.left_out)
        watching = begin_watching(begun, probed, run)
        origin = Origin(
            data_fingerprint=store.fingerprint,
            pictures=len(watching.learnt) if teaches else 0,
            steps=0,
            seed=config.seed,
        )
        run.note(device=str(fabric.device))
        handing_on = HandingOn(config, state.network, origin, out, watching.chosen, begun.init)
        kept = _learn(begun, watching, handing_on, fabric)
        if not run.writes:
            return out
        last = last_tenth(out) if teaches else {}
        kept = kept._replace(metrics=last | kept.metrics)
        handing_on.save(kept)
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


def _labelled_set(
    begun: Pretraining, fabric: Fabric, first: Callable[[], object]
) -> ProbeSet | None:
    """The labelled set to probe on, which the first process alone reads, after another look."""
    found: list[ProbeSet | None] = []

    def read() -> list[int]:
        if fabric.is_global_zero:
            first()
        found.append(labelled_set(begun.config, begun.state.network, fabric.is_global_zero))
        return []

    Together(fabric).all_do(read)
    return found[0]


def _learn(begun: Pretraining, watching: Watching, handing_on: HandingOn, fabric: Fabric) -> Kept:
    """Learn, and give the weights that the run hands on."""
    config, state, out = begun.config, begun.state, watching.out
    if not config.pretext.teaches:
        watching.first(state)
        return watching.kept(state, {})
    plan = config.training
    pictures = PicturesWatched(begun.task, begun.slices, out / "pictures")

    def watch(report: StepReport, notes: Notes, board: SummaryWriter) -> bool:
        if report.step % config.pictures_every == 0 or report.step == plan.steps:
            pictures.draw(state.network, report.step)
        look = watching.step(state, report, notes, board)
        if look.best is not None:
            handing_on.save(look.best, BEST_FILES)
        return look.stop

    what = Learning(
        out, fabric, watching.learnt, begun.task, plan, config.seed, config.checkpoint_every
    )
    notes = learn(what, state, watch, lambda _notes: watching.first(state))
    return watching.kept(state, notes)
