"""`covidssl finetune`: labelled images or scans in, a model folder out."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.tensorboard import SummaryWriter

from covidssl.commands.learning import Learning, Notes, learn
from covidssl.commands.progress import track
from covidssl.datasets import read_dataset
from covidssl.experiments import FinetuneConfig
from covidssl.files import write_csv
from covidssl.finetuning import FineTuning
from covidssl.labelled_frames import load_labelled_frames
from covidssl.model import CLASSIFIER, Model, ModelCard, load_model
from covidssl.runs import IfExists, RunFolder
from covidssl.selection import append_validation
from covidssl.splits import (
    Assigned,
    Proposed,
    SplitNotes,
    StartsFrom,
    leakage_in_words,
    propose,
    refuse_early,
    refuse_leaks,
    settle,
    write_split_files,
)
from covidssl.starting import FROM_SCRATCH, Start, must_agree, start_from
from covidssl.training import StepReport, make_fabric

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Places:
    """Where things lie.

    Attributes:
        out: the run folder; the model will be in `out/model`.
        encoder: a pretraining run or encoder file; None from scratch.
        init: a model whose classifier to start from, head and all.
        cache: folder in which cut frames are kept between runs.
        device: `auto`, `cpu` or `cuda`.
        splits: a file of splits to use in place of the configuration's.
    """

    out: Path
    encoder: Path | None = None
    init: Path | None = None
    cache: Path | None = None
    device: str = "auto"
    splits: Path | None = None


def main(
    config: FinetuneConfig,
    data: Path,
    places: Places,
    if_exists: IfExists = "refuse",
    allow_leakage: bool = False,
) -> Path:
    """Fine-tune on class folders or a CSV; gives the run folder.

    Raises:
        CovidsslError: for an output that exists, data or weights that cannot be used, and for a
            split that leaks unless that is allowed.
    """
    fabric = make_fabric(places.device, config.training.precision)
    start = start_from(places.encoder, config.frame, config.encoder, config.seed)
    dataset = read_dataset(data, config.positive_class)
    proposed = propose(dataset, config.split, config.seed, places.splits)
    init = _initial(places.init, start)
    before = StartsFrom(init.learnt, init.card.leakage) if init else None
    refuse_early(proposed, allow_leakage, before)
    out = places.out
    with RunFolder(out, "finetune", config, if_exists) as run:
        run.note_data(
            encoder=start.sha256,
            init=init.card.files[CLASSIFIER] if init else FROM_SCRATCH,
            splits=proposed.fingerprint,
        )
        if run.done:
            log.info("%s: finished already.", out)
            return out
        most = config.aggregation.most_slices
        frames = load_labelled_frames(dataset.scans, start.frame, most, places.cache, track)
        # First, so that a resume on other data is refused before it has changed anything.
        run.note_data(dataset=frames.fingerprint)
        settled = settle(proposed, frames.prints, allow_leakage, before)
        assigned, leakage = _through_the_gate(run, proposed, settled, allow_leakage)
        dropped = [{"scan": name, "reason": reason} for name, reason in frames.dropped]
        write_csv(out / "dropped.csv", ("scan", "reason"), dropped)
        tuning = FineTuning(config, start, frames, dataset.classes, assigned, leakage, init)
        if tuning.unchecked:
            log.warning("Leakage could not be checked in full: %s.", tuning.unchecked)
        card, device = _learn(tuning, places.out, fabric)
        started = "pretrained" if places.encoder else "from scratch"
        run.note(device=device, summary={"start": started, **_summary(tuning, card)})
    return out


def _summary(tuning: FineTuning, card: ModelCard) -> dict[str, Any]:
    counts = Counter(one.split for one in tuning.assigned)
    frames = tuning.frames
    return {
        **{f"{split} scans": count for split, count in sorted(counts.items())},
        "scans dropped": len(frames.dropped),
        "scans without lungs, taken whole": len(frames.without_lungs),
        "scans read with a warning": len(frames.warned),
        **{name: round(value, 4) for name, value in card.metrics.items() if "scans" not in name},
    }


def _through_the_gate(
    run: RunFolder,
    proposed: Proposed,
    settled: tuple[list[Assigned], SplitNotes],
    allowed: bool,
) -> tuple[list[Assigned], str]:
    """The split that is trained on, written down; and what leaks through it, in words."""
    assigned, notes = settled
    leakage = leakage_in_words(notes.leaks)
    run.note(
        splits={
            "kind": notes.kind,
            "reason": notes.reason,
            "set_aside": len(notes.set_aside),
            "leakage": leakage,
            "leakage_allowed": notes.leakage_allowed,
        }
    )
    refuse_leaks(proposed.dataset, notes.leaks, allowed)
    write_split_files(run.path, assigned, proposed.dataset, notes)
    return assigned, leakage


def _initial(path: Path | None, start: Start) -> Model | None:
    """The model whose classifier to start from, if it sees what this one will see."""
    if path is None:
        return None
    model = load_model(path)
    must_agree(path, "frame", start.frame, model.card.frame)
    must_agree(path, "encoder", start.encoder.plan, model.card.encoder)
    return model


def _learn(tuning: FineTuning, out: Path, fabric: Fabric) -> tuple[ModelCard, str]:
    config, plan = tuning.config, tuning.config.training
    state = tuning.first_state(fabric.device)
    best = tuning.selection(fabric.device, out)
    table = out / "validation.csv"

    def validate_probe(notes: Notes) -> None:
        append_validation(table, 0, best.consider(state, notes))

    def validate(report: StepReport, notes: Notes, board: SummaryWriter) -> None:
        if report.step % config.validate_every == 0 or report.step == plan.steps:
            found = best.consider(state, notes)
            append_validation(table, report.step, found)
            for name, value in found.items():
                board.add_scalar(f"validation/{name}", value, report.step)

    what = Learning(
        out, fabric, tuning.data, tuning.task, plan, config.seed, config.checkpoint_every
    )
    notes = learn(what, state, validate, validate_probe)
    return tuning.save(out / "model", state, best, notes), str(fabric.device)
