"""`covidssl evaluate`: a classifier held against labels that it has not learnt from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from covidssl.datasets import Dataset, read_dataset
from covidssl.errors import DataError, UsageError
from covidssl.evaluation import COLUMNS, Evaluation, judge
from covidssl.experiments import EvaluateConfig
from covidssl.figures import Rated, confusion_figure, pr_figure, reliability_figure, roc_figure
from covidssl.files import read_csv, write_bytes, write_csv, write_json
from covidssl.labelled_frames import LabelledFrames, load_labelled_frames
from covidssl.model import CLASSIFIER, LEARNT, Model, load_model
from covidssl.progress import track
from covidssl.runs import IfExists, RunFolder
from covidssl.splits import (
    LEARNT_FROM,
    Assigned,
    group_kind,
    in_runs,
    overlap,
    read_splits,
    splits_fingerprint,
)
from covidssl.training import make_fabric

log = logging.getLogger(__name__)

LEAKS = "THE MODEL LEARNT ON A SPLIT THAT LEAKS, which was allowed"
SEEN = "SCANS WERE LEARNT FROM"


class Beside(NamedTuple):
    """What an evaluation may be given beside the model and the dataset.

    Attributes:
        cache: folder in which cut frames are kept between runs.
        device: `auto`, `cpu` or `cuda`.
    """

    cache: Path | None = None
    device: str = "auto"


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
        CovidsslError: for an output that exists, for data or weights that cannot be used, and for
            splits that are not those the model was trained on.
    """
    # First, so that a device that is not here is told at once.
    device = make_fabric(beside.device, "32-true").device
    model = load_model(run_folder)
    dataset = read_dataset(data, model.card.classes[1])
    assigned = _assigned(config, run_folder, dataset, model.card.splits)
    with RunFolder(out, "evaluate", config, if_exists) as run:
        run.note_data(classifier=model.card.files[CLASSIFIER], splits=splits_fingerprint(assigned))
        if run.done:
            log.info("%s: finished already.", out)
            return out
        # A rival scored on what it has learnt would look better than any model.
        with_rival = config.rival and config.split not in LEARNT_FROM
        needed = {config.split, *(LEARNT_FROM if with_rival else ())}
        # With a cache all scans are cut, so that every split and run finds the same file.
        scans = [one.scan for one in assigned if beside.cache or one.split in needed]
        most = model.card.aggregation.most_slices
        frames = load_labelled_frames(scans, model.card.frame, most, beside.cache, track)
        run.note_data(dataset=frames.fingerprint)
        assigned = in_runs(assigned, frames.prints, config.run_length)
        rival_seed = config.seed if with_rival else None
        judged = judge(model.to(device), frames, assigned, config.split, rival_seed)
        warnings = list(_of_the_frames(judged, frames, assigned))
        warnings += _of_what_is_learnt(judged, model, run_folder)
        leakage = {LEAKS: model.card.leakage, SEEN: _overlap(judged, model, frames)}
        for text in [*_leaking(leakage), *warnings]:
            log.warning("%s.", text)
        run.note(device=str(device), summary=_write(config, judged, warnings, leakage, out))
    return out


def _assigned(
    config: EvaluateConfig, run_folder: Path, dataset: Dataset, fingerprint: str
) -> list[Assigned]:
    if config.split == "all":
        return [Assigned(scan, scan.patient or scan.name, "all") for scan in dataset.scans]
    file = _splits_file(run_folder)
    if file is None:
        raise UsageError(
            f"{run_folder}: has no splits.csv. Give the fine-tuning run, or --split all for data "
            f"that it has not learnt from."
        )
    assigned = read_splits(file, dataset)
    found = sorted({one.split for one in assigned})
    if config.split not in found:
        raise UsageError(f"{file}: no split '{config.split}'; found {', '.join(found)}.")
    if fingerprint and fingerprint != splits_fingerprint(assigned):
        raise DataError(
            f"{file}: is not the split that the model was trained on, so that its '{config.split}' "
            f"may have been learnt from. Give the run's own splits.csv back, or train again."
        )
    return assigned


def _splits_file(run_folder: Path) -> Path | None:
    """The splits of a run, given the run or its model folder."""
    files = (folder / "splits.csv" for folder in (run_folder, run_folder.parent))
    return next((file for file in files if file.is_file()), None)


def _of_the_frames(
    judged: Evaluation, frames: LabelledFrames, assigned: Sequence[Assigned]
) -> Iterator[str]:
    (split,) = {one.split for one in judged.scans}
    wanted = {one.scan.name for one in assigned if one.split == split}
    dropped = [(name, reason) for name, reason in frames.dropped if name in wanted]
    if dropped:
        name, reason = dropped[0]
        yield (
            f"{len(dropped)} of {len(wanted)} scans could not be read and are not scored; "
            f"first: {name}: {reason.removeprefix(f'{name}: ')}"
        )
    warned = [(name, text) for name, text in frames.warned if name in wanted]
    if warned:
        count, (name, text) = len(dict(warned)), warned[0]
        yield f"{count} of {len(wanted)} scans were read with a warning; first: {name}: {text}"


def _of_what_is_learnt(judged: Evaluation, model: Model, run_folder: Path) -> Iterator[str]:
    """What is to be said where the scans were learnt from by intent, or that cannot be known."""
    (split,) = {one.split for one in judged.scans}
    if split in LEARNT_FROM:
        yield f"the {split} split: scored on data that chose or taught the weights"
        return
    if model.card.unchecked:
        yield f"whether scans were learnt from could not be checked in full: {model.card.unchecked}"
    if model.learnt is not None:
        return
    file = _splits_file(run_folder)
    learnt = {row["scan"] for row in read_csv(file) if row["split"] in LEARNT_FROM} if file else ()
    alike = sum(one.scan.name in learnt for one in judged.scans)
    yield (
        f"whether scans were learnt from could not be checked: the model holds no {LEARNT}"
        + (
            f"; {alike} of {len(judged.scans)} are called like train or validation scans of its run"
            if alike
            else ""
        )
    )


def _overlap(judged: Evaluation, model: Model, frames: LabelledFrames) -> str:
    """Which scored scans were learnt from, in words; empty for none or by intent."""
    (split,) = {one.split for one in judged.scans}
    if split in LEARNT_FROM or model.learnt is None:
        return ""
    found = overlap(model.learnt, frames.prints, (one.scan.name for one in judged.scans))
    return str(found) if found.names else ""


def _leaking(leakage: Mapping[str, str]) -> list[str]:
    return [f"{kind}: {text}" for kind, text in leakage.items() if text]


def _write(
    config: EvaluateConfig,
    judged: Evaluation,
    warnings: Sequence[str],
    leakage: Mapping[str, str],
    out: Path,
) -> dict[str, Any]:
    model, rival = judged.scores(config.seed, config.rounds)
    write_csv(out / "predictions.csv", COLUMNS, judged.rows())
    write_json(
        out / "metrics.json",
        {
            "split": config.split,
            "n": len(judged.target),
            "positives": int(judged.target.sum()),
            "groups": model.groups,
            "group_kind": group_kind(judged.scans),
            "threshold": judged.threshold,
            "rounds": config.rounds,
            "model": model.as_json(),
            "rival": rival.as_json() if rival else None,
            "leakage": "; ".join(filter(None, leakage.values())),
            "warnings": [*_leaking(leakage), *model.cautions, *warnings],
        },
    )
    rated = [Rated("model", judged.probability, model.auroc)]
    area = [Rated("model", judged.probability, model.auprc)]
    if rival is not None and judged.rival is not None:
        rated.append(Rated("trivial rival", judged.rival, rival.auroc))
        area.append(Rated("trivial rival", judged.rival, rival.auprc))
    figures = {
        "roc.png": roc_figure(judged.target, rated, judged.threshold),
        "pr.png": pr_figure(judged.target, area, judged.threshold),
        "confusion.png": confusion_figure(
            judged.target, judged.probability, judged.threshold, judged.classes
        ),
        "reliability.png": reliability_figure(judged.target, judged.probability),
    }
    for name, picture in figures.items():
        write_bytes(out / name, picture)
    return {
        f"{name}": f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
        for name, estimate in model.estimates().items()
    }
