"""`covidssl finetune`: labelled images or scans in, a model folder out."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch.utils.tensorboard import SummaryWriter

from covidssl.commands.learning import Learning, Notes, learn
from covidssl.commands.progress import track
from covidssl.datasets import Dataset, read_dataset
from covidssl.errors import UsageError
from covidssl.experiments import FinetuneConfig
from covidssl.files import write_csv
from covidssl.finetuning import FineTuning
from covidssl.labelled_frames import load_labelled_frames
from covidssl.model import CLASSIFIER, Model, ModelCard, load_model
from covidssl.rehearsal import (
    LabelledRun,
    Line,
    forecast,
    largest_batch,
    look_at,
    one_process,
    with_fitting_batch,
)
from covidssl.runs import IfExists, RunFolder
from covidssl.selection import append_validation
from covidssl.shared_runs import open_run
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
from covidssl.starting import (
    FROM_SCRATCH,
    Start,
    must_agree,
    must_have_levels,
    scan_rule,
    start_from,
)
from covidssl.training import Machines, StepReport, make_fabric

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
        device: where the network runs; with several processes each of them comes here.
        splits: a file of splits to use in place of the configuration's.
    """

    out: Path
    encoder: Path | None = None
    init: Path | None = None
    cache: Path | None = None
    device: str | Machines = "auto"
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
    config = fabric.broadcast(config)  # its batch may have been fitted to memory, by the first one
    start, dataset, proposed, init, before = _open(config, data, places, allow_leakage)
    out = places.out
    with open_run(fabric, out, "finetune", config, if_exists) as run:
        run.note_data(
            encoder=start.sha256,
            init=init.card.files[CLASSIFIER] if init else FROM_SCRATCH,
            splits=proposed.fingerprint,
        )
        if run.done:
            log.info("%s: finished already.", out)
            return out
        most = scan_rule(config.aggregation, start.frame).most_slices
        frames = load_labelled_frames(dataset.scans, start.frame, most, places.cache, track)
        # First, so that a resume on other data is refused before it has changed anything.
        run.note_data(dataset=frames.fingerprint)
        settled = settle(proposed, frames.prints, allow_leakage, before)
        assigned, leakage = _through_the_gate(run, proposed, settled, allow_leakage)
        dropped = [{"scan": name, "reason": reason} for name, reason in frames.dropped]
        if run.writes:
            write_csv(out / "dropped.csv", ("scan", "reason"), dropped)
        tuning = FineTuning(config, start, frames, dataset.classes, assigned, leakage, init)
        if tuning.unchecked:
            log.warning("Leakage could not be checked in full: %s.", tuning.unchecked)
        _warn_of_few(tuning)
        card, device = _learn(tuning, places.out, fabric)
        if card is None:
            return out
        started = "pretrained" if places.encoder else "from scratch"
        run.note(device=device, summary={"start": started, **_summary(tuning, card)})
    return out


class _Opening(NamedTuple):
    """What a fine-tuning has before any picture is read."""

    start: Start
    dataset: Dataset
    proposed: Proposed
    init: Model | None
    before: StartsFrom | None


def _open(config: FinetuneConfig, data: Path, places: Places, allow_leakage: bool) -> _Opening:
    start = start_from(places.encoder, config.frame, config.encoder, config.seed)
    scan_rule(config.aggregation, start.frame)  # told before anything is read
    must_have_levels(config.frozen_levels, start.encoder.plan)
    dataset = read_dataset(data, config.positive_class)
    proposed = propose(dataset, config.split, config.seed, places.splits)
    init = _initial(places.init, start, config)
    before = StartsFrom(init.learnt, init.card.leakage) if init else None
    if before is None and start.chosen_on is not None:
        before = StartsFrom(start.chosen_on, "")
    refuse_early(proposed, allow_leakage, before)
    return _Opening(start, dataset, proposed, init, before)


def rehearse(
    config: FinetuneConfig, data: Path, places: Places, allow_leakage: bool = False
) -> list[Line]:
    """What a run would take, by a few of its own steps; nothing is written.

    Raises:
        CovidsslError: for what the run itself would refuse, and for too little memory.
    """
    run = _labelled_run(config, data, places, allow_leakage)
    if config.learns == "probe":
        return [*run.lines(), Line("steps", "none: nothing learns once the probe is fitted")]
    trial = run.trial()
    return [*run.lines(), *forecast(trial, places.out, run.products(trial)).lines()]


def fitted(
    config: FinetuneConfig, data: Path, places: Places, if_exists: IfExists = "refuse"
) -> FinetuneConfig:
    """The configuration with the largest batch that the device has memory for.

    Raises:
        CovidsslError: for what the run itself would refuse, and where no picture fits.
    """

    def choose() -> int:
        run = _labelled_run(config, data, places, allow_leakage=True)
        return largest_batch(run.trial(), run.surely)

    return with_fitting_batch(config, places.out, if_exists, choose)


def _labelled_run(
    config: FinetuneConfig, data: Path, places: Places, allow_leakage: bool
) -> LabelledRun:
    """The run on all frames, if they are cut already; otherwise on those of a few scans."""
    fabric, processes = one_process(places.device, config.training.precision)
    start, dataset, proposed, init, before = _open(config, data, places, allow_leakage)
    most = scan_rule(config.aggregation, start.frame).most_slices
    look, assigned = look_at(proposed, start.frame, most, places.cache)
    if assigned is None:
        assigned, notes = settle(proposed, look.frames.prints, allow_leakage, before)
        refuse_leaks(dataset, notes.leaks, allow_leakage)
    tuning = FineTuning(config, start, look.frames, dataset.classes, assigned, "", init)
    return LabelledRun(tuning, look, proposed, fabric, processes)


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
    if run.writes:
        write_split_files(run.path, assigned, proposed.dataset, notes)
    return assigned, leakage


def _warn_of_few(tuning: FineTuning) -> None:
    found, batch = len(tuning.lessons.target), tuning.config.training.batch_size
    if found < batch and tuning.config.learns != "probe":
        log.warning(
            "Only %d %s to learn from, fewer than training.batch_size %d: every batch holds some "
            "of them more than once. Set training.batch_size to %d or less.",
            found, tuning.lessons.what, batch, found,
        )  # fmt: skip


def _initial(path: Path | None, start: Start, config: FinetuneConfig) -> Model | None:
    """The model whose classifier to start from, if it sees what this one will see."""
    if path is None:
        return None
    if config.learns == "probe":
        raise UsageError(
            f"{path}: with learns probe the head is fitted anew, and nothing of the model that is "
            f"started from would be left. Leave --init out, or set learns to head or all."
        )
    model = load_model(path)
    if model.card.head != config.head:
        raise UsageError(
            f"{path}: this model's head is {model.card.head.kind} "
            f"({model.card.head.attention_features} attention features), and the configuration's "
            f"is {config.head.kind} ({config.head.attention_features}). Set head to the model's."
        )
    must_agree(path, "frame", start.frame, model.card.frame)
    must_agree(path, "encoder", start.encoder.plan, model.card.encoder)
    return model


def _learn(tuning: FineTuning, out: Path, fabric: Fabric) -> tuple[ModelCard | None, str]:
    """The model's card and the device; no card in the processes that do not write."""
    config, plan = tuning.config, tuning.config.training
    state = tuning.first_state(fabric.device)
    best = tuning.selection(fabric.device, out)
    table = out / "validation.csv"

    def validate_probe(notes: Notes) -> None:
        append_validation(table, 0, best.consider(state, notes))

    if config.learns == "probe":
        probed: Notes = {}
        if not fabric.is_global_zero:
            return None, str(fabric.device)
        validate_probe(probed)
        return tuning.save(out / "model", state, best, probed), str(fabric.device)

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
    if not fabric.is_global_zero:
        return None, str(fabric.device)
    return tuning.save(out / "model", state, best, notes), str(fabric.device)
