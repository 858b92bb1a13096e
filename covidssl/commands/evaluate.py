"""`covidssl evaluate`: a classifier held against labels that it has not learnt from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from covidssl.datasets import Dataset, read_dataset
from covidssl.errors import DataError
from covidssl.evaluation import COLUMNS, LOOK, Evaluation, Held, judge
from covidssl.evaluation.assigned import ALL, all_of, assigned_scans, external_dataset, grouped
from covidssl.evaluation.cautions import (
    of_columns,
    of_pixels,
    of_the_frames,
    of_what_is_learnt,
    overlap_of,
)
from covidssl.evaluation.external import External
from covidssl.evaluation.judged import TAUGHT
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
T = TypeVar("T")

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

    Scans that the model has learnt from are known by their pictures, whatever they are called. An
    external set that turns out not to be scorable once it is read is told with its reason, and the
    others are scored.

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
    sets += [_external(one, model, config.by) for one in beside.externals]
    with RunFolder(out, "evaluate", config, if_exists) as run:
        run.note_data(
            classifier=model.card.files[CLASSIFIER],
            **{"external sets": ", ".join(one.name for one in sets[1:]) or "none"},
            **{f"splits{one.suffix}": splits_fingerprint(one.assigned) for one in sets},
            **{f"columns{one.suffix}": _columns_print(one, config.by) for one in sets},
        )
        if run.done:
            log.info("%s: finished already.", out)
            return out
        work = _Work(config, model.to(device), run_folder, beside.cache)
        unscored: dict[str, str] = {}
        tried = [(one, _or_reason(one, unscored, partial(_held, work, one))) for one in sets]
        read = [(one, held) for one, held in tried if held is not None]
        run.note_data(**{f"dataset{one.suffix}": held.frames.fingerprint for one, held in read})
        told = _judged(work, read, unscored)
        _warn(work, told, unscored)
        run.note(device=str(device), summary=_write(work, told, unscored, out))
    return out


def _warn(work: _Work, told: Sequence[Told], unscored: Mapping[str, str]) -> None:
    for one in told:
        for text in (*_leaking(work, one), *one.warnings):
            log.warning("%s.", f"{one.judged.name}: {text}" if one.judged.name else text)
    for name, reason in unscored.items():
        log.warning("%s: this external set is not scored: %s", name, reason)


def _columns_print(one: _Set, asked: Sequence[str]) -> str:
    """Of what the columns that are asked for say of every scan."""
    said = [[of.scan.name, *(of.scan.columns.get(name, "") for name in asked)]
            for of in one.assigned]  # fmt: skip
    return hashlib.sha256(json.dumps(said if asked else []).encode()).hexdigest()


def _or_reason(one: _Set, unscored: dict[str, str], make: Callable[[], T]) -> T | None:
    """What is made of a set; of an external one that cannot be scored the reason is kept."""
    try:
        return make()
    except DataError as error:
        if not one.name:
            raise
        unscored[one.name] = str(error)
        return None


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
        """Whether trivial models learn; not beside scores of what the model learnt from."""
        return self.config.rival and self.config.split not in LEARNT_FROM

    @property
    def asked(self) -> Asked:
        """What stands beside the scores."""
        config = self.config
        return Asked(config.by, config.prevalence, Bootstrap(config.seed, config.rounds))


def _external(external: External, model: Model, by: Sequence[str]) -> _Set:
    dataset = external_dataset(external, model)
    try:
        check_texts(dataset.scans, [name for name in by if name in dataset.columns])
    except DataError as error:
        raise DataError(f"External set '{external.name}': {error}") from error
    return _Set(external.name, dataset, all_of(dataset))


def _held(work: _Work, one: _Set) -> Held:
    """The frames of a set, each scan read once; scans of nobody known in runs of files."""
    config, card = work.config, work.model.card
    split = ALL if one.name else config.split
    needed = {split, *((TAUGHT,) if work.with_rival and not one.name else ())}
    # With a cache all scans are cut, so that every split and run finds the same file.
    scans = [of.scan for of in one.assigned if work.cache or of.split in needed]
    look = LOOK if config.views else None
    frames = load_labelled_frames(
        scans, card.frame, card.aggregation.most_slices, work.cache, track, look
    )
    groups = grouped(one.assigned, split, frames.prints, config.run_length)
    return Held(one.name, frames, groups, split, one.dataset.classes)


def _judged(work: _Work, read: Sequence[tuple[_Set, Held]], unscored: dict[str, str]) -> list[Told]:
    """Every set with all that is said of it, the external ones against the internal one."""
    config, bootstrap = work.config, work.asked.bootstrap
    rival_seed = config.seed if work.with_rival else None
    first, own_held = read[0]
    judged = judge(work.model, [held for _, held in read], rival_seed, config.views, track)
    own = _told(work, first, own_held, judged[0])
    calibrated_on = calibration_prevalence(first.assigned)
    if work.model.card.calibration.reason is not None:
        calibrated_on = None

    def of_external(one: _Set, held: Held, scored: Evaluation) -> Told:
        if len(set(scored.group)) < 2:
            # Told here: this sentence goes into files, and must not name whom the group is of.
            raise DataError(
                f"All {len(scored.scans)} scans belong to one group, so no interval can be drawn."
            )
        told = _told(work, one, held, scored, of_pixels(held, own_held))
        shift = site_shift(own.judged, scored, own.scores, calibrated_on, bootstrap)
        return told._replace(shift=shift)

    found = [own]
    for (one, held), scored in zip(read[1:], judged[1:], strict=True):
        told = _or_reason(one, unscored, partial(of_external, one, held, scored))
        found += [told] if told is not None else []
    return found


def _told(work: _Work, one: _Set, held: Held, judged: Evaluation, more: Iterable[str] = ()) -> Told:
    asked = work.asked
    known = one.dataset.columns
    warnings = [*of_the_frames(held), *of_columns(held, asked.by, known), *more]
    warnings += of_what_is_learnt(judged, work.model, work.run_folder)
    there = asked._replace(by=tuple(name for name in asked.by if name in known))
    return told_of(judged, there, overlap_of(judged, work.model, held), warnings)


def _leaking(work: _Work, told: Told) -> list[str]:
    """What leaks, first of all warnings; of an external set, its own scans alone."""
    of_model = "" if told.judged.name else work.model.card.leakage
    kinds = {LEAKS: of_model, SEEN: told.leakage}
    return [f"{kind}: {text}" for kind, text in kinds.items() if text]


def _write(
    work: _Work, sets: Sequence[Told], unscored: Mapping[str, str], out: Path
) -> dict[str, Any]:
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
            "external": content | {name: {"not_scored": why} for name, why in unscored.items()},
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
