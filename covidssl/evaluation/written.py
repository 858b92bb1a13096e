"""What `metrics.json` and the tables beside it say of sets that were scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from covidssl.evaluation import beside, subgroups
from covidssl.evaluation.judged import Evaluation
from covidssl.evaluation.scoring import Bootstrap, SetScores, at_prevalences, curves, scores_of
from covidssl.evaluation.shift import Shift
from covidssl.files import write_csv
from covidssl.splits import group_kind


class Asked(NamedTuple):
    """What was asked for beside the scores.

    Attributes:
        by: columns of subgroups.
        prevalences: for which PPV, NPV and accuracy are given, beside the usual ones.
        bootstrap: how intervals are drawn.
    """

    by: tuple[str, ...]
    prevalences: tuple[float, ...]
    bootstrap: Bootstrap


class Told(NamedTuple):
    """A set with all that is said of it.

    Attributes:
        judged: its scans.
        scores: of the model and of the rival.
        rows: trivial models, and the model on altered images.
        verdicts: on those rows.
        parts: its subgroups.
        shift: against the internal set; None for that one.
        leakage: of its scans that were learnt from; empty for none.
        warnings: what must be said beside its numbers.
    """

    judged: Evaluation
    scores: SetScores
    rows: Sequence[beside.Row]
    verdicts: Sequence[beside.Verdict]
    parts: Sequence[subgroups.Subgroup]
    shift: Shift | None
    leakage: str
    warnings: Sequence[str]


def told_of(judged: Evaluation, asked: Asked, leakage: str, warnings: Sequence[str]) -> Told:
    """Score a set and all that stands beside it.

    Args:
        judged: its scans.
        asked: what was asked for.
        leakage: of its scans that were learnt from; empty for none.
        warnings: what must be said beside its numbers.

    Raises:
        DataError: when a class is absent, or a column names scans and not groups.
    """
    scores = scores_of(judged, asked.bootstrap)
    # The rival's row alone says no more than its column and the difference beside the scores.
    more = judged.trivial or judged.views
    rows = beside.rows_beside(judged, asked.bootstrap) if more else []
    parts = subgroups.subgroups(judged, asked.by, asked.bootstrap) if asked.by else []
    return Told(judged, scores, rows, beside.verdicts(rows), parts, None, leakage, tuple(warnings))


def set_json(told: Told, asked: Asked) -> dict[str, Any]:
    """Everything about one set, for `metrics.json`."""
    judged, scores = told.judged, told.scores
    at = at_prevalences(scores.model, asked.prevalences)
    return {
        "split": judged.split,
        "n": len(judged.target),
        "positives": int(judged.target.sum()),
        "groups": scores.model.groups,
        "group_kind": group_kind(judged.scans),
        "threshold": judged.threshold,
        "rounds": asked.bootstrap.rounds,
        "model": scores.model.as_json(),
        "rival": scores.rival.as_json() if scores.rival else None,
        "model_minus_rival": scores.over_rival._asdict() if scores.over_rival else None,
        "delong": scores.delong.estimate._asdict() if scores.delong else None,
        "calibration": {
            "bins": scores.calibration.bins,
            **{name: one._asdict() for name, one in scores.calibration.estimates().items()},
        },
        "at_prevalence": [one.as_json() for one in at],
        "asked_prevalence": list(asked.prevalences),
        "beside": [row.as_json() for row in told.rows],
        "verdicts": [one._asdict() for one in told.verdicts],
        "subgroups": [one.as_json() for one in told.parts],
        "worst_subgroups": subgroups.worst(told.parts),
        "curves": curves(judged, scores),
        "shift": told.shift.as_json() if told.shift else None,
        "leakage": told.leakage,
        "warnings": [*scores.cautions, *told.warnings],
    }


def write_tables(sets: Sequence[Told], out: Path, columns: Sequence[str]) -> None:
    """`predictions.csv`, one like it an external set, `views.csv` and `subgroups.csv`.

    Args:
        sets: the internal one first.
        out: the run folder.
        columns: of the predictions.
    """
    for told in sets:
        name = told.judged.name
        file = f"external-{name}.csv" if name else "predictions.csv"
        write_csv(out / file, columns, told.judged.rows())
    views = [row.as_row(told.judged.name) for told in sets for row in told.rows]
    if views:
        write_csv(out / "views.csv", beside.COLUMNS, views)
    parts = [row for told in sets for one in told.parts for row in one.as_rows(told.judged.name)]
    if parts:
        write_csv(out / "subgroups.csv", subgroups.COLUMNS, parts)
