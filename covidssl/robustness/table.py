"""One table of four idioms: every row a score with its interval, and how it differs from clean.

Subpopulations, transformations, evaluation sets, attacks: Goel et al., Robustness Gym, NAACL 2021.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.evaluation import Evaluation
from covidssl.evaluation.scoring import Bootstrap
from covidssl.evaluation.subgroups import subgroups
from covidssl.metrics import Estimate, Part, combined, evaluate
from covidssl.robustness.suite import ATTACK, CLEAN, Condition

Idiom = Literal["evaluation set", "subpopulation", "transformation", "attack"]
MEASURES = ("auroc", "sensitivity", "specificity")
COLUMNS = (
    "set", "idiom", "name", "severity", "amount", "unit", "scans", "positives", "groups",
    *(f"{name}{end}" for name in (*MEASURES, "difference") for end in ("", "_low", "_high")),
    "changed", "moved", "note",
)  # fmt: skip


class Row(NamedTuple):
    """One row.

    Attributes:
        set: that was scored.
        idiom: of the four.
        name: what was done: a kind of corruption, `clean`, `attack`, or column = value.
        severity, amount, unit: how much; 0 and empty where nothing was done.
        scans, positives, groups: that were scored.
        scores: by name; without those that are not defined.
        difference: AUROC here minus that of the same scans clean (of a subpopulation: of all other
            scans); None where it is not defined.
        changed: share of scans whose label changed against clean.
        moved: mean change of the probability against clean, signs aside.
        note: why the numbers should not be taken at face value.
    """

    set: str
    idiom: Idiom
    name: str
    severity: int
    amount: float
    unit: str
    scans: int
    positives: int
    groups: int
    scores: dict[str, Estimate]
    difference: Estimate | None
    changed: float | None = None
    moved: float | None = None
    note: str = ""

    @property
    def clean(self) -> float | None:
        """AUROC of the same scans clean; None where that is not what this row is held against."""
        if not self.severity or self.difference is None or "auroc" not in self.scores:
            return None
        return self.scores["auroc"].value - self.difference.value

    def as_json(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            **self._asdict(),
            "scores": {name: one._asdict() for name, one in self.scores.items()},
            "difference": self.difference._asdict() if self.difference else None,
        }

    def as_csv(self) -> dict[str, Any]:
        """For `robustness.csv`; what is not defined is empty."""
        estimates = {**self.scores, **({"difference": self.difference} if self.difference else {})}
        cells: dict[str, Any] = {
            key: value for key, value in self._asdict().items() if key in COLUMNS
        }
        cells["amount"] = self.amount if self.severity else ""
        cells["severity"] = self.severity or ""
        cells |= {"difference": ""}
        for name, one in estimates.items():
            if name in (*MEASURES, "difference"):
                ends = zip(("", "_low", "_high"), one, strict=True)
                cells |= {f"{name}{end}": round(value, 4) for end, value in ends}
        for name in ("changed", "moved"):
            share = getattr(self, name)
            cells[name] = "" if share is None else round(share, 4)
        return cells


class NotApplied(NamedTuple):
    """A condition that gave some or all scans of a set no score."""

    set: str
    name: str
    severity: int
    scans: int
    of: int
    reason: str


class Answers(NamedTuple):
    """What the model said of one set.

    Attributes:
        set: its name.
        clean: the scans as they are.
        logit: (C, S) under each condition; NaN where there is none.
        reasons: why there is none, by places (condition, scan).
    """

    set: str
    clean: Evaluation
    logit: NDArray[np.float64]
    reasons: dict[tuple[int, int], str]


def of_set(answers: Answers, bootstrap: Bootstrap) -> Row:
    """The set as it is."""
    clean = answers.clean
    scores, note = _scores(clean.target, clean.probability, clean, clean.group, bootstrap)
    return Row(
        answers.set, "evaluation set", CLEAN, 0, 0.0, "",
        len(clean.target), int(clean.target.sum()), len(set(clean.group)), scores, None, None, None,
        note,
    )  # fmt: skip


def of_conditions(
    answers: Answers, conditions: Sequence[Condition], probability: NDArray[np.float64],
    bootstrap: Bootstrap,
) -> list[Row]:  # fmt: skip
    """A row for each condition but clean, of the scans that it applies to; none where to none.

    Args:
        answers: of the set.
        conditions: in the order of the logits.
        probability: (C, S) calibrated.
        bootstrap: how intervals are drawn.
    """
    rows = []
    for place, condition in enumerate(conditions):
        there = np.isfinite(answers.logit[place])
        if condition.kind != CLEAN and there.any():
            rows.append(_of_condition(answers, condition, probability[place], there, bootstrap))
    return rows


def not_applied(answers: Answers, conditions: Sequence[Condition]) -> list[NotApplied]:
    """Which conditions left scans without a score, and the reason that was given most often."""
    found = []
    scans = answers.logit.shape[1]
    for place, condition in enumerate(conditions):
        # The same reason of many scans: their names stand before it.
        reasons = Counter(
            text.partition(": ")[2] or text
            for (k, _), text in answers.reasons.items()
            if k == place
        )
        if reasons:
            reason, _ = reasons.most_common(1)[0]
            found.append(
                NotApplied(
                    answers.set, condition.kind, condition.severity, reasons.total(), scans, reason
                )
            )
    return found


def of_subpopulations(answers: Answers, columns: Sequence[str], bootstrap: Bootstrap) -> list[Row]:
    """A row for each value of each column that has more than one; numbers are cut into thirds.

    Raises:
        DataError: when a column names scans, not groups.
    """
    varied = [
        column
        for column in columns
        if len({one.scan.columns.get(column, "") for one in answers.clean.scans}) > 1
    ]
    return [
        Row(
            answers.set, "subpopulation", f"{one.column} = {one.value}", 0, 0.0, "",
            one.n, one.positives, one.groups, one.scores, one.from_the_rest, None, None,
            "; ".join(one.cautions),
        )
        for one in subgroups(answers.clean, varied, bootstrap)
    ]  # fmt: skip


def _of_condition(
    answers: Answers,
    condition: Condition,
    probability: NDArray[np.float64],
    there: NDArray[np.bool_],
    bootstrap: Bootstrap,
) -> Row:
    clean = answers.clean
    target, said, before = clean.target[there], probability[there], clean.probability[there]
    group = [name for name, here in zip(clean.group, there, strict=True) if here]
    scores, note = _scores(target, said, clean, group, bootstrap)
    difference = None
    if "auroc" in scores:
        parts = (Part(said, clean.threshold, 1.0), Part(before, clean.threshold, -1.0))
        difference = combined(
            target, parts, group, bootstrap.generator(), "auroc", bootstrap.rounds
        )
    point = clean.threshold
    return Row(
        answers.set, "attack" if condition.kind == ATTACK else "transformation",
        condition.kind, condition.severity, condition.amount, condition.unit,
        len(target), int(target.sum()), len(set(group)), scores, difference,
        float(np.mean((said >= point) != (before >= point))),
        float(np.mean(np.abs(said - before))), note,
    )  # fmt: skip


def _scores(
    target: NDArray[np.int64],
    probability: NDArray[np.float64],
    of: Evaluation,
    group: Sequence[str],
    bootstrap: Bootstrap,
) -> tuple[dict[str, Estimate], str]:
    """Scores by name, and why there are none or they should not be taken at face value."""
    try:
        found = evaluate(
            target, probability, of.threshold, group, bootstrap.generator(), bootstrap.rounds
        )
    except DataError as error:
        return {}, str(error)
    known = found.estimates()
    return {name: known[name] for name in MEASURES if name in known}, " ".join(found.cautions)
