"""`covidssl evaluate`: a classifier held against labels that it has not learnt from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from covidssl.commands.progress import track
from covidssl.datasets import Dataset, read_dataset
from covidssl.errors import UsageError
from covidssl.evaluation import COLUMNS, LEARNT_FROM, Evaluation, judge
from covidssl.experiments import EvaluateConfig
from covidssl.figures import Rated, confusion_figure, pr_figure, reliability_figure, roc_figure
from covidssl.files import write_bytes, write_csv, write_json
from covidssl.labelled_frames import load_labelled_frames
from covidssl.model import load_model
from covidssl.runs import IfExists, RunFolder
from covidssl.splits import Assigned, group_kind, read_splits
from covidssl.training import make_fabric

log = logging.getLogger(__name__)


def main(
    config: EvaluateConfig,
    run_folder: Path,
    data: Path,
    out: Path,
    if_exists: IfExists = "refuse",
    cache: Path | None = None,
) -> Path:
    """Score a fine-tuning run on a split of its dataset, or on all of another one.

    Raises:
        CovidsslError: for an output that exists, or data or weights that cannot be used.
    """
    model = load_model(run_folder)
    dataset = read_dataset(data, model.card.classes[1])
    assigned = _assigned(config, run_folder, dataset)
    with RunFolder(out, "evaluate", config, if_exists) as run:
        if run.done:
            log.info("%s: finished already.", out)
            return out
        needed = {config.split, *(LEARNT_FROM if config.rival else ())}
        # With a cache all scans are cut, so that every split and run finds the same file.
        scans = [one.scan for one in assigned if cache or one.split in needed]
        most = model.card.aggregation.most_slices
        frames = load_labelled_frames(scans, model.card.frame, most, cache, track)
        run.note_data(
            dataset=frames.fingerprint, classifier=model.card.files["classifier.safetensors"]
        )
        device = make_fabric("auto", "32-true").device
        seed = config.seed if config.rival else None
        judged = judge(model.to(device), frames, assigned, config.split, seed)
        run.note(device=str(device), summary=_write(config, judged, len(frames.dropped), out))
    return out


def _assigned(config: EvaluateConfig, run_folder: Path, dataset: Dataset) -> list[Assigned]:
    if config.split == "all":
        return [Assigned(scan, scan.patient or scan.name, "all") for scan in dataset.scans]
    folders = (run_folder, run_folder.parent)
    files = [folder / "splits.csv" for folder in folders if (folder / "splits.csv").is_file()]
    if not files:
        raise UsageError(
            f"{run_folder}: has no splits.csv. Give the fine-tuning run, or --split all for data "
            f"that it has not learnt from."
        )
    assigned = read_splits(files[0], dataset)
    found = sorted({one.split for one in assigned})
    if config.split not in found:
        raise UsageError(f"{files[0]}: no split '{config.split}'; found {', '.join(found)}.")
    return assigned


def _write(config: EvaluateConfig, judged: Evaluation, dropped: int, out: Path) -> dict[str, Any]:
    model, rival = judged.scores(config.seed, config.rounds)
    warnings = list(model.cautions)
    if dropped:
        warnings.append(f"{dropped} scans could not be read and are not scored")
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
            "warnings": warnings,
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
