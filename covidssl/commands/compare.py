"""`covidssl compare`: several evaluations of the same scans held against each other."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from covidssl.evaluation.compared import COLUMNS, Comparison, compare_all, read_evaluated
from covidssl.experiments import CompareConfig
from covidssl.figures import Rated, roc_figure
from covidssl.files import sha256_of, write_bytes, write_csv, write_json
from covidssl.runs import IfExists, RunFolder

log = logging.getLogger(__name__)

_DRAWN = 3  # curves in one figure that are told apart in print


def main(
    config: CompareConfig,
    folders: Sequence[Path],
    out: Path,
    if_exists: IfExists = "refuse",
) -> Path:
    """Compare all pairs of evaluations; gives the folder.

    Args:
        config: seed and rounds.
        folders: of `covidssl evaluate`, of the same scans.
        out: the folder to write.
        if_exists: what becomes of a folder that is there.

    Raises:
        CovidsslError: for an output that exists, a folder that holds no evaluation, and for
            evaluations of different scans.
    """
    found = read_evaluated(folders)
    with RunFolder(out, "compare", config, if_exists) as run:
        run.note_data(predictions=_digest(folders, "predictions.csv"),
                      metrics=_digest(folders, "metrics.json"))  # fmt: skip
        if run.done:
            log.info("%s: finished already.", out)
            return out
        compared = compare_all(found, config.seed, config.rounds)
        for text in compared.cautions:
            log.warning("%s", text)
        write_csv(out / "comparison.csv", COLUMNS, (pair.as_row() for pair in compared.pairs))
        write_json(out / "comparison.json", _json(compared))
        write_bytes(out / "roc.png", _figure(compared))
        run.note(
            summary={
                "evaluations": len(found),
                "scans": len(found[0].scans),
                "pairs": len(compared.differences),
            }
        )
    return out


def _digest(folders: Sequence[Path], file: str) -> str:
    """Of one file of every folder, in their order."""
    return hashlib.sha256("".join(sha256_of(one / file) for one in folders).encode()).hexdigest()


def _json(compared: Comparison) -> dict[str, Any]:
    """As the page reads it: an arm a model, and every pair under every test."""
    first = compared.evaluations[0]
    return {
        "title": "Models on the same scans",
        "note": (
            f"{len(first.scans)} scans of split {first.split}, {len(set(first.group))} groups. "
            f"Paired tests on the same scans; p is corrected by Holm for "
            f"{len(compared.differences)} pairs, within each test."
        ),
        "rows": [
            {
                "arm": one.name,
                "fraction": 1.0,
                "auroc": scores.auroc._asdict(),
                "accuracy": scores.accuracy._asdict(),
                **({"leakage": one.leakage} if one.leakage else {}),
            }
            for one, scores in zip(compared.evaluations, compared.scores, strict=True)
        ],
        "scores": {
            one.name: {"threshold": one.threshold, **scores.as_json()}
            for one, scores in zip(compared.evaluations, compared.scores, strict=True)
        },
        "differences": [
            {"first": a, "second": b, "metric": "auroc", **one._asdict()}
            for a, b, one in compared.differences
        ],
        "pairs": [pair.as_json() for pair in compared.pairs],
        "cautions": list(compared.cautions),
    }


def _figure(compared: Comparison) -> bytes:
    """ROC curves of the first models; of more the figure would be a thicket."""
    drawn = zip(compared.evaluations[:_DRAWN], compared.scores[:_DRAWN], strict=True)
    rated = [Rated(one.name, one.probability, scores.auroc) for one, scores in drawn]
    return roc_figure(compared.evaluations[0].target, rated)
