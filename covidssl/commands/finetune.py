"""`covidssl finetune`: labelled images or scans in, a model folder out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from covidssl.experiments import FinetuneConfig
from covidssl.files import write_csv
from covidssl.finetuning import (
    FineTuning,
    Places,
    Validating,
    open_finetuning,
    through_the_gate,
)
from covidssl.labelled_frames import load_labelled_frames
from covidssl.learning import Learning, Notes, learn
from covidssl.model import ModelCard
from covidssl.progress import track
from covidssl.runs import IfExists
from covidssl.shared_runs import open_run
from covidssl.starting import FROM_SCRATCH
from covidssl.training import make_fabric

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)


def main(
    config: FinetuneConfig,
    data: Path,
    places: Places,
    if_exists: IfExists = "refuse",
    allow_leakage: bool = False,
) -> Path:
    """Fine-tune on class folders or a CSV; gives the run folder.

    Args:
        config: what to train, and how.
        data: two class folders, or a CSV path,label[,patient][,split].
        places: where things lie, the run folder among them.
        if_exists: what becomes of a folder that is there.
        allow_leakage: use a split that leaks; the model says so.

    Raises:
        CovidsslError: for an output that exists, data or weights that cannot be used, and for a
            split that leaks unless that is allowed.
    """
    fabric = make_fabric(places.device, config.training.precision)
    config = fabric.broadcast(config)  # its batch may have been fitted to memory, by the first one
    opening = open_finetuning(config, data, places, allow_leakage)
    opening.must_learn_rightly(fabric.device)
    start, out = opening.start, places.out
    with open_run(fabric, out, "finetune", config, if_exists) as run:
        run.note_data(**opening.fingerprints)
        if run.done:
            log.info("%s: finished already.", out)
            return out
        frames = load_labelled_frames(
            opening.dataset.scans, start.frame, opening.most_slices, places.cache, track
        )
        # First, so that a resume on other data is refused before it has changed anything.
        run.note_data(dataset=frames.fingerprint)
        assigned, leakage = through_the_gate(run, opening, frames.prints, allow_leakage)
        dropped = [{"scan": name, "reason": reason} for name, reason in frames.dropped]
        if run.writes:
            write_csv(out / "dropped.csv", ("scan", "reason"), dropped)
        tuning = opening.tuning(frames, assigned, leakage)
        if start.unchecked:
            log.warning("Leakage could not be checked in full: %s.", start.unchecked)
        if tuning.shortage:
            log.warning("%s", tuning.shortage)
        card = _learn(tuning, out, fabric)
        if card is None:
            return out
        started = "from scratch" if start.sha256 == FROM_SCRATCH else "pretrained"
        summary = {"start": started, **tuning.summary(card)}
        run.note(device=str(fabric.device), summary=summary)
    return out


def _learn(tuning: FineTuning, out: Path, fabric: Fabric) -> ModelCard | None:
    """Learn, choose and write the model; gives its card, in the process that writes."""
    config, plan = tuning.config, tuning.config.training
    state = tuning.first_state(fabric.device)
    best = tuning.selection(fabric.device, out)
    validating = Validating(best, state, out / "validation.csv", config.validate_every, plan.steps)
    notes: Notes = {}
    if config.learns != "probe":
        what = Learning(
            out, fabric, tuning.data, tuning.task, plan, config.seed, config.checkpoint_every
        )
        notes = learn(what, state, validating.step, validating.first)
    elif fabric.is_global_zero:
        validating.first(notes)
    if not fabric.is_global_zero:
        return None
    return tuning.save(out / "model", state, best, notes)
