"""What a suite found, as the files of its run and the sentences beside the scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from covidssl.evaluation.cautions import of_what_is_learnt
from covidssl.figures.robustness import Panel
from covidssl.robustness.sets import SuiteSet
from covidssl.robustness.suite import CLEAN, Condition, Suite, Tried
from covidssl.robustness.summary import words_of
from covidssl.robustness.table import Answers, NotApplied, Row


class Found(NamedTuple):
    """What was found of one set."""

    tested: SuiteSet
    tried: Tried
    answers: Answers


def warnings_of(
    suite: Suite, found: Sequence[Found], leakage: str, run_folder: Path, clean: Row
) -> list[str]:
    """What must be said beside the scores."""
    said = [f"THERE IS LEAKAGE: {leakage}"] if leakage else []
    for one in found:
        name, dropped = one.tested.name, one.tried.dropped
        learnt = of_what_is_learnt(one.answers.clean, suite.model, run_folder)
        said += [f"{name}: {text}." for text in learnt]
        if dropped:
            said.append(
                f"{name}: {len(dropped)} of {len(one.tested.scans)} scans could not be scored; "
                f"first: {dropped[0][0]}: {dropped[0][1].removeprefix(f'{dropped[0][0]}: ')}"
            )
        if one.tested.of > len(one.tested.scans):
            said.append(f"{name}: {len(one.tested.scans)} of {one.tested.of} scans were tried.")
    auroc = clean.scores.get("auroc")
    if auroc is None or auroc.low <= 0.5:
        said.append("The clean AUROC is not told from chance: that it does not fall says nothing.")
    assumed = sum(
        one.facts["millimetres"] == "reckoned from the lungs" for one in found[0].tried.found
    )
    if assumed:
        said.append(
            f"{assumed} of {len(found[0].tried.found)} scans say no voxel size: their millimetres "
            f"are reckoned from lungs 270 mm wide."
        )
    return said


def logit_rows(found: Sequence[Found], conditions: Sequence[Condition]) -> list[dict[str, object]]:
    """For `logits.csv`: a row a scan and condition."""
    rows: list[dict[str, object]] = []
    for one in found:
        for place, condition in enumerate(conditions[: len(one.answers.logit)]):
            for scan, labelled in enumerate(one.tried.scans):
                value = one.answers.logit[place, scan]
                rows.append(
                    {
                        "set": one.tested.name,
                        "scan": labelled.name,
                        "name": condition.kind,
                        "severity": condition.severity or "",
                        "logit": f"{value:.6f}" if np.isfinite(value) else "",
                        "reason": one.answers.reasons.get((place, scan), ""),
                    }
                )
    return rows


def panels_of(rows: Sequence[Row], conditions: Sequence[Condition]) -> list[Panel]:
    """A panel for each kind that has a score."""
    panels = []
    for kind in dict.fromkeys(one.kind for one in conditions if one.kind != CLEAN):
        own = [row for row in rows if row.name == kind and row.clean is not None]
        if own:
            panels.append(
                Panel(
                    words_of(kind),
                    own[0].unit,
                    [row.amount for row in own],
                    [row.scores["auroc"] for row in own],
                    # Rounded, so that the same scans are known by the same score.
                    [round(row.clean, 9) for row in own if row.clean is not None],
                    own[0].idiom == "attack",
                )
            )
    return panels


def in_short(
    rows: Sequence[Row], mean: float | None, lacking: Sequence[NotApplied]
) -> dict[str, Any]:
    """For the record of the run."""
    found: dict[str, Any] = {"rows": len(rows)}
    clean = rows[0].scores.get("auroc")
    if clean is not None:
        found["clean AUROC"] = f"{clean.value:.3f} ({clean.low:.3f} to {clean.high:.3f})"
    if mean is not None:
        found["mean fall of the AUROC"] = round(mean, 4)
    nowhere = {one.name for one in lacking if one.scans == one.of}
    found["corruptions that apply to no scan"] = len(nowhere)
    return found
