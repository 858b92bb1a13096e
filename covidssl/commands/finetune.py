"""`covidssl finetune`: labelled images or scans in, a model folder out."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
from covidssl.splits import split_dataset, splits_fingerprint, write_splits
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
    """

    out: Path
    encoder: Path | None = None
    init: Path | None = None
    cache: Path | None = None
    device: str = "auto"


def main(
    config: FinetuneConfig, data: Path, places: Places, if_exists: IfExists = "refuse"
) -> Path:
    """Fine-tune on class folders or a CSV; gives the run folder.

    Raises:
        CovidsslError: for an output that exists, data or weights that cannot be used.
    """
    fabric = make_fabric(places.device, config.training.precision)
    start = start_from(places.encoder, config.frame, config.encoder, config.seed)
    dataset = read_dataset(data, config.positive_class)
    assigned = split_dataset(dataset, config.split, config.seed)
    init = _initial(places.init, start)
    out = places.out
    with RunFolder(out, "finetune", config, if_exists) as run:
        run.note_data(
            encoder=start.sha256,
            init=init.card.files[CLASSIFIER] if init else FROM_SCRATCH,
            splits=splits_fingerprint(assigned),
        )
        if run.done:
            log.info("%s: finished already.", out)
            return out
        most = config.aggregation.most_slices
        frames = load_labelled_frames(dataset.scans, start.frame, most, places.cache, track)
        # First, so that a resume on other data is refused before it has changed anything.
        run.note_data(dataset=frames.fingerprint)
        write_splits(out / "splits.csv", assigned, dataset)
        dropped = [{"scan": name, "reason": reason} for name, reason in frames.dropped]
        write_csv(out / "dropped.csv", ("scan", "reason"), dropped)
        tuning = FineTuning(config, start, frames, dataset.classes, assigned)
        card, device = _learn(tuning, places.out, init, fabric)
        counts = Counter(one.split for one in assigned)
        run.note(
            device=device,
            summary={
                "start": "pretrained" if places.encoder else "from scratch",
                **{f"{split} scans": count for split, count in sorted(counts.items())},
                "scans dropped": len(dropped),
                "scans without lungs, taken whole": len(frames.without_lungs),
                "scans read with a warning": len(frames.warned),
                **{
                    name: round(value, 4)
                    for name, value in card.metrics.items()
                    if "scans" not in name
                },
            },
        )
    return out


def _initial(path: Path | None, start: Start) -> Model | None:
    """The model whose classifier to start from, if it sees what this one will see."""
    if path is None:
        return None
    model = load_model(path)
    must_agree(path, "frame", start.frame, model.card.frame)
    must_agree(path, "encoder", start.encoder.plan, model.card.encoder)
    return model


def _learn(
    tuning: FineTuning, out: Path, init: Model | None, fabric: Fabric
) -> tuple[ModelCard, str]:
    config, plan = tuning.config, tuning.config.training
    state = tuning.first_state(fabric.device, init)
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
