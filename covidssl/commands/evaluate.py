"""`covidssl evaluate`: a classifier held against labels that it has not learnt from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from covidssl.datasets import Dataset, read_dataset
from covidssl.errors import DataError
from covidssl.evaluation import COLUMNS, LOOK, Evaluation, Held, judge
from covidssl.evaluation.assigned import ALL, all_of, assigned_scans, external_dataset, grouped
from covidssl.evaluation.cautions import (
    of_columns,
    of_the_frames,
    of_what_is_learnt,
    overlap_of,
)
from covidssl.evaluation.external import External
from covidssl.evaluation.scoring import Bootstrap
from covidssl.evaluation.shift import calibration_prevalence, site_shift
from covidssl.evaluation.subgroups import check_columns, check_texts
from covidssl.evaluation.written import Asked, Told, set_json, told_of, write_tables
from covidssl.experiments import EvaluateConfig
from covidssl.figures import Rated, confusion_figure, pr_figure, reliability_figure, roc_figure
from covidssl.files import write_bytes, write_json
from covidssl.labelled_frames import load_labelled_frames
from covidssl.model import CLASSIFIER, Model, load_model
from covidssl.progress import track
from covidssl.runs import IfExists, RunFolder
from covidssl.splits import LEARNT_FROM, Assigned, splits_fingerprint
from covidssl.training import make_fabric

log = logging.getLogger(__name__)

LEAKS = "THE MODEL LEARNT ON A SPLIT THAT LEAKS, which was allowed"
SEEN = "SCANS WERE LEARNT FROM"


class Beside(NamedTuple):
    """What an evaluation may be given beside the model and the dataset.

    Attributes:
        cache: folder in which cut frames are kept between runs.
        device: `auto`, `cpu` or `cuda`.
        externals: further labelled sets, scored with the same operating point.
    """

    cache: Path | None = None
    device: str = "auto"
    externals: Sequence[External] = ()


BY_ITSELF = Beside()


def main(
    config: EvaluateConfig,
    run_folder: Path,
    data: Path,
    out: Path,
    if_exists: IfExists = "refuse",
    beside: Beside = BY_ITSELF,
) -> Path:
    """Score a fine-tuning run on a split of its dataset, or on all of another one.

    Scans that the model has learnt from are known by their pictures, whatever they are called.

    Raises:
        CovidsslError: for an output that exists, for data or weights that cannot be used, for
            columns that the table lacks, and for splits that are not those the model was trained
            on.
    """
    # First, so that a device that is not here is told at once.
    device = make_fabric(beside.device, "32-true").device
    model = load_model(run_folder)
    dataset = read_dataset(data, model.card.classes[1])
    check_columns(dataset, config.by)
    assigned = assigned_scans(config.split, run_folder, dataset, model.card.splits)
    check_texts([one.scan for one in assigned if one.split == config.split], config.by)
    sets = [_Set("", dataset, assigned)]
    sets += [_external(one, model) for one in beside.externals]
    with RunFolder(out, "evaluate", config, if_exists) as run:
        run.note_data(
            classifier=model.card.files[CLASSIFIER],
            **{f"splits{one.suffix}": splits_fingerprint(one.assigned) for one in sets},
        )
        if run.done:
            log.info("%s: finished already.", out)
            return out
        work = _Work(config, model.to(device), run_folder, beside.cache)
        held = [_held(work, one) for one in sets]
        run.note_data(
            **{
                f"dataset{one.suffix}": of.frames.fingerprint
                for one, of in zip(sets, held, strict=True)
            }
        )
        told = _judged(work, sets, held)
        for one in told:
            for text in (*_leaking(work, one), *one.warnings):
                log.warning("%s.", f"{one.judged.name}: {text}" if one.judged.name else text)
        run.note(device=str(device), summary=_write(work, told, out))
    return out


class _Set(NamedTuple):
    """A set before its scans are read: its name, empty for the internal one."""

    name: str
    dataset: Dataset
    assigned: Sequence[Assigned]

    @property
    def suffix(self) -> str:
        """What its entries in the record are called after."""
        return f" of {self.name}" if self.name else ""


class _Work(NamedTuple):
    """What all steps of an evaluation need."""

    config: EvaluateConfig
    model: Model
    run_folder: Path
    cache: Path | None

    @property
    def with_rival(self) -> bool:
        """Whether trivial models learn: scored on what they learnt they would look best of all."""
        return self.config.rival and self.config.split not in LEARNT_FROM

    @property
    def asked(self) -> Asked:
        """What stands beside the scores."""
        config = self.config
        return Asked(config.by, config.prevalence, Bootstrap(config.seed, config.rounds))


def _external(external: External, model: Model) -> _Set:
    dataset = external_dataset(external, model)
    return _Set(external.name, dataset, all_of(dataset))


def _held(work: _Work, one: _Set) -> Held:
    """The frames of a set, each scan read once; scans of nobody known in runs of files."""
    config, card = work.config, work.model.card
    split = ALL if one.name else config.split
    needed = {split, *(LEARNT_FROM if work.with_rival else ())}
    # With a cache all scans are cut, so that every split and run finds the same file.
    scans = [of.scan for of in one.assigned if work.cache or of.split in needed]
    look = LOOK if config.views else None
    try:
        frames = load_labelled_frames(
            scans, card.frame, card.aggregation.most_slices, work.cache, track, look
        )
    except DataError as error:
        raise (DataError(f"External set '{one.name}': {error}") if one.name else error) from error
    groups = grouped(one.assigned, split, frames.prints, config.run_length)
    return Held(one.name, frames, groups, split)


def _judged(work: _Work, sets: Sequence[_Set], held: Sequence[Held]) -> list[Told]:
    """Every set with all that is said of it, the external ones against the internal one."""
    config = work.config
    rival_seed = config.seed if work.with_rival else None
    judged = judge(work.model, held, rival_seed, config.views, track)
    told = [
        _told(work, one, of, scored) for one, of, scored in zip(sets, held, judged, strict=True)
    ]
    calibrated_on = calibration_prevalence(sets[0].assigned)
    if work.model.card.calibration.reason is not None:
        calibrated_on = None
    own = told[0]
    bootstrap = work.asked.bootstrap
    return [own] + [
        one._replace(shift=site_shift(own.judged, one.judged, own.scores, calibrated_on, bootstrap))
        for one in told[1:]
    ]


def _told(work: _Work, one: _Set, held: Held, judged: Evaluation) -> Told:
    asked = work.asked
    known = one.dataset.columns
    warnings = [*of_the_frames(held), *of_columns(held, asked.by, known)]
    warnings += of_what_is_learnt(judged, work.model, work.run_folder)
    there = asked._replace(by=tuple(name for name in asked.by if name in known))
    try:
        return told_of(judged, there, overlap_of(judged, work.model, held), warnings)
    except DataError as error:
        raise (DataError(f"External set '{one.name}': {error}") if one.name else error) from error


def _leaking(work: _Work, told: Told) -> list[str]:
    """What leaks, first of all warnings; of an external set, its own scans alone."""
    of_model = "" if told.judged.name else work.model.card.leakage
    kinds = {LEAKS: of_model, SEEN: told.leakage}
    return [f"{kind}: {text}" for kind, text in kinds.items() if text]


def _write(work: _Work, sets: Sequence[Told], out: Path) -> dict[str, Any]:
    own, others = sets[0], sets[1:]
    write_tables(sets, out, COLUMNS)
    content = {one.judged.name: set_json(one, work.asked) for one in sets}
    for one in sets:
        of = content[one.judged.name]
        of["warnings"] = [*_leaking(work, one), *of["warnings"]]
    seen = [f"external set {one.judged.name}: {one.leakage}" for one in others if one.leakage]
    leakage = "; ".join(filter(None, (work.model.card.leakage, own.leakage, *seen)))
    write_json(
        out / "metrics.json",
        {
            **content.pop(""),
            "operating_point_rule": work.model.card.operating_point_rule,
            "external": content,
            "leakage": leakage,
        },
    )
    for name, picture in _figures(own).items():
        write_bytes(out / name, picture)
    return {
        f"{name}": f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
        for name, estimate in own.scores.model.estimates().items()
    }


def _figures(told: Told) -> dict[str, bytes]:
    judged, scores = told.judged, told.scores
    rated = [Rated("model", judged.probability, scores.model.auroc)]
    area = [Rated("model", judged.probability, scores.model.auprc)]
    if scores.rival is not None and judged.rival is not None:
        rated.append(Rated("trivial rival", judged.rival, scores.rival.auroc))
        area.append(Rated("trivial rival", judged.rival, scores.rival.auprc))
    said = (judged.target, judged.probability)
    return {
        "roc.png": roc_figure(judged.target, rated, judged.threshold),
        "pr.png": pr_figure(judged.target, area, judged.threshold),
        "confusion.png": confusion_figure(*said, judged.threshold, judged.classes),
        "reliability.png": reliability_figure(*said),
    }
