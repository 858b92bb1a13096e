"""`covidssl robustness`: how a classifier's answers change when the scans do."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covidssl.config import changed_keys, load_config
from covidssl.errors import UsageError
from covidssl.evaluation.external import External
from covidssl.evaluation.scoring import Bootstrap
from covidssl.evaluation.subgroups import check_columns, check_texts
from covidssl.figures.robustness import robustness_figure
from covidssl.files import write_bytes, write_csv, write_json
from covidssl.model import CLASSIFIER, load_model
from covidssl.progress import track
from covidssl.robustness.plan import RobustnessConfig
from covidssl.robustness.sets import SuiteSet, as_evaluation, learnt_among, tested_sets
from covidssl.robustness.suite import Suite, Tried, joined, prints_beside, try_scans
from covidssl.robustness.summary import falls, mean_fall
from covidssl.robustness.table import (
    COLUMNS,
    Answers,
    not_applied,
    of_conditions,
    of_set,
    of_subpopulations,
)
from covidssl.robustness.written import Found, in_short, logit_rows, panels_of, warnings_of
from covidssl.runs import IfExists, RunFolder
from covidssl.splits import Prints, splits_fingerprint
from covidssl.training import make_fabric

log = logging.getLogger(__name__)

TABLE, SUMMARY, FIGURE = "robustness.csv", "robustness.json", "robustness.png"
LOGITS, SCANS = "logits.csv", "scans"
_TRIED = 2  # scans of a dry run
_LOGITS = ("set", "scan", "name", "severity", "logit", "reason")
_TOLD = {"by", "rounds", "tolerated", "run_length"}  # nothing of what is kept depends on them
_FACTS = ("pixels", "distance of slices", "lungs", "millimetres")


@dataclass(frozen=True)
class Beside:
    """What a suite may be given beside the model and its own data.

    Attributes:
        externals: further sets.
        device: `auto`, `cpu` or `cuda`.
    """

    externals: tuple[External, ...] = ()
    device: str = "auto"


BY_ITSELF = Beside()


def main(
    config: RobustnessConfig,
    run_folder: Path,
    data: Path,
    out: Path,
    if_exists: IfExists = "refuse",
    beside: Beside = BY_ITSELF,
) -> Path:
    """Put a fine-tuning run through the suite; gives the folder.

    What is found of each scan is kept in the folder at once: a run that was stopped goes on behind
    the last whole scan.

    Raises:
        CovidsslError: for an output that exists, for data or weights that cannot be used, and for
            splits that are not those the model was trained on.
    """
    suite, sets = _begun(config, run_folder, data, beside)
    again = if_exists == "resume" and _only_told_otherwise(out, config)
    with RunFolder(out, "robustness", config, if_exists, may_change=again) as run:
        # Named so that no set, whatever it is called, can stand for another entry.
        prints = {f"splits of {one.name}": splits_fingerprint(one.assigned) for one in sets}
        run.note_data(classifier=suite.model.card.files[CLASSIFIER], **prints)
        if run.done:
            log.info("%s: finished already.", out)
            return out
        # Of external sets the clean scans are asked for alone.
        plain = Suite(suite.model, config.model_copy(update=_NOTHING))
        found = []
        for k, one in enumerate(sets):
            suited = suite if k == 0 else plain
            tried = try_scans(suited, one.scans, out / SCANS, track)
            more = prints_beside(suited, one.beside, out / SCANS, track)
            prints_of_split = joined(tried.prints, more)
            found.append(Found(one, tried, _answers(suited, one, tried, prints_of_split)))
        summary = _write(suite, found, run_folder, out)
        run.note(device=str(suite.model.device), summary=summary)
    return out


_NOTHING: dict[str, Any] = {"kinds": (), "attack_hu": (), "attack_grey": ()}


def dry_run(
    config: RobustnessConfig, run_folder: Path, data: Path, beside: Beside = BY_ITSELF
) -> list[tuple[str, str]]:
    """What a run would do, and how long it would take by two of its scans; nothing is written.

    Raises:
        CovidsslError: as `main`.
    """
    suite, sets = _begun(config, run_folder, data, beside)
    conditions, first = suite.conditions, sets[0]
    some = first.scans[:: max(1, len(first.scans) // _TRIED)][:_TRIED]
    began = time.monotonic()
    tried = try_scans(suite, some, None, track)
    each = (time.monotonic() - began) / len(some)
    applied = np.mean([np.isfinite(one.logit).mean() for one in tried.found])
    lines = [("device", str(suite.model.device))]
    for one in sets:
        ways = len(conditions) if one is first else 1
        thinned = f" of {one.of}" if one.of > len(one.scans) else ""
        lines.append((one.name, f"{len(one.scans)}{thinned} scans x {ways} ways to show each"))
    # Imported here: what reckons with training needs more than a suite does.
    from covidssl.rehearsal.forecast import in_time

    # What is read to know runs of files takes about as long as one way to show a scan.
    more = sum(len(one.beside) for one in sets)
    clean = (sum(len(one.scans) for one in sets[1:]) + more) / len(conditions)
    return [
        *lines,
        ("apply to the scans tried", f"{applied:.0%} of these ways"),
        ("time for a scan", f"{each:.2g} s"),
        ("time in all", in_time(each * (len(first.scans) + clean))),
    ]


def _begun(
    config: RobustnessConfig, run_folder: Path, data: Path, beside: Beside
) -> tuple[Suite, list[SuiteSet]]:
    # First, so that a device that is not here is told at once.
    device = make_fabric(beside.device, "32-true").device
    model = load_model(run_folder)
    sets = tested_sets(config, run_folder, model, data, beside.externals)
    check_columns(sets[0].dataset, config.by)
    twice = sorted(set(config.by) & set(_FACTS))
    if twice:
        raise UsageError(f"--by {twice[0]}: the suite has subpopulations of that name itself.")
    check_texts(sets[0].scans, config.by)
    return Suite(model.to(device), config), sets


def _only_told_otherwise(out: Path, config: RobustnessConfig) -> bool:
    """Whether there is a run that differs in what is reckoned from the scans' logits alone."""
    file = out / "config.yaml"
    if not file.is_file():
        return False
    try:
        changed = changed_keys(load_config(RobustnessConfig, file), config)
    except UsageError:
        return False
    keys = {one.partition(":")[0] for one in changed}
    return bool(keys) and keys <= _TOLD


def _answers(suite: Suite, one: SuiteSet, tried: Tried, prints: Prints) -> Answers:
    reasons = {
        (place, scan): text
        for scan, found in enumerate(tried.found)
        for place, text in found.reasons.items()
    }
    clean = as_evaluation(suite.model, one, tried, prints, suite.config)
    return Answers(one.name, clean, tried.logit, reasons)


def _write(suite: Suite, found: Sequence[Found], run_folder: Path, out: Path) -> dict[str, Any]:
    config, conditions = suite.config, suite.conditions
    bootstrap = Bootstrap(config.seed, config.rounds)
    first = found[0].answers
    probability = suite.model.card.calibration.probability(first.logit)
    rows = [of_set(one.answers, bootstrap) for one in found]
    rows += of_subpopulations(first, (*config.by, *_FACTS), bootstrap)
    rows += of_conditions(first, conditions, probability, bootstrap)
    lacking = not_applied(first, conditions)
    told = falls(rows, config.tolerated)
    mean = mean_fall(told, first.set)
    leakage = "; ".join(
        filter(
            None,
            (
                suite.model.card.leakage,
                *(learnt_among(suite.model, one.tested, one.tried) for one in found),
            ),
        )
    )
    warnings = warnings_of(suite, found, leakage, run_folder, rows[0])
    for text in warnings:
        log.warning("%s", text)
    write_csv(out / LOGITS, _LOGITS, logit_rows(found, conditions))
    write_csv(out / TABLE, COLUMNS, [row.as_csv() for row in rows])
    panels = panels_of(rows, conditions)
    clean = rows[0].scores.get("auroc")
    if panels and clean is not None:
        write_bytes(out / FIGURE, robustness_figure(panels, clean))
    else:
        (out / FIGURE).unlink(missing_ok=True)
    write_json(
        out / SUMMARY,
        {
            "tolerated": config.tolerated,
            "threshold": suite.model.card.operating_point,
            "rounds": config.rounds,
            "rows": [row.as_json() for row in rows],
            "falls": [one.as_json() for one in told],
            "mean_fall": mean,
            "models": {one.kind: one.model for one in conditions if one.model},
            "not_applied": [one._asdict() for one in lacking],
            "leakage": leakage,
            "warnings": warnings,
        },
    )
    return in_short(rows, mean, lacking)
