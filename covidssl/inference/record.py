"""`run.json`: which model answered, how many scans came out how, and the commonest reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from covidssl.answers import Outcome
from covidssl.counting import counted
from covidssl.files import write_json
from covidssl.inference.journal import ANSWERED, Entry
from covidssl.inference.schema import NAME
from covidssl.lesion_model import Answering
from covidssl.prediction import AnswerPlan

RUN = "run.json"


def counts_of(entries: Iterable[Entry], passed_over: Mapping[str, str]) -> dict[str, int]:
    """How many scans there are, and how many came out how."""
    found = Counter(entry.outcome for entry in entries)
    counts = {"scans": found.total()} | {str(one): found[one] for one in Outcome}
    return counts | {"passed_over": len(passed_over)}


def unanswered(counts: Mapping[str, int]) -> int:
    """How many scans have no answer."""
    return counts["scans"] - sum(counts[str(one)] for one in ANSWERED)


def reasons_of(entries: Iterable[Entry]) -> dict[str, int]:
    """How many scans have a reason of each code, the commonest first."""
    return dict(Counter(code for entry in entries for code in entry.codes).most_common())


def write_run(
    out: Path,
    models: Sequence[Answering],
    plan: AnswerPlan,
    counts: Mapping[str, int],
    told: Mapping[str, Any],
) -> None:
    """Write `run.json`.

    Args:
        out: folder of the run.
        models: that answered; the first one's card is `model`.
        plan: how.
        counts: as of `counts_of`.
        told: further entries: `reasons`, `ignored`, `notes`.

    Raises:
        CovidsslError: when the disk is full.
    """
    card = models[0].card
    write_json(
        out / RUN,
        {
            "format": "covidssl-predict-1",
            "model": card.model_dump(mode="json"),
            "ensemble": [model.card.model_dump(mode="json") for model in models[1:]],
            "intended_use": card.intended_use,
            "plan": plan.model_dump(mode="json"),
            "answers": {"format": "covidssl-answer-1", "schema": f"docs/schemas/{NAME}"},
            "counts": dict(counts),
            **told,
        },
    )


def summary(counts: Mapping[str, int], reasons: Mapping[str, int]) -> list[str]:
    """How a run came out, in lines for a person."""
    told = ", ".join(f"{counts[str(one)]} {one}" for one in Outcome)
    lines = [f"{counted(counts['scans'], 'scan')}: {told}"]
    if counts["passed_over"]:
        lines[0] += f"; {counts['passed_over']} series passed over"
    if reasons:
        common = ", ".join(f"{code} ({count})" for code, count in list(reasons.items())[:5])
        lines.append(f"Commonest reasons: {common}.")
    return lines
