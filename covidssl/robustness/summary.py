"""What the table says, in plain words: where the AUROC falls, and how much on the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from covidssl.robustness.kinds import KINDS
from covidssl.robustness.suite import ATTACK
from covidssl.robustness.table import Row

_NAMED_FIRST = ("share", "factor", "gain", "quality")


class Fall(NamedTuple):
    """How one kind of corruption, or the attack, lowers the AUROC of one set.

    Attributes:
        set, name: of what.
        mean: fall of the AUROC against the same scans clean, the mean over the severities: like the
            corruption error of Hendrycks and Dietterich (ICLR 2019), but not relative to another
            model.
        severity: the mildest at which it falls by more than is tolerated; None where at none.
        worst: the largest fall.
        sure: whether the interval of the fall at that severity holds no 0.
        text: all of it as a sentence.
    """

    set: str
    name: str
    mean: float
    severity: int | None
    worst: float
    sure: bool
    text: str

    def as_json(self) -> dict[str, Any]:
        """For a JSON file."""
        return self._asdict()


def words_of(name: str) -> str:
    """A kind as people say it."""
    return KINDS[name].words if name in KINDS else name


def falls(rows: Sequence[Row], tolerated: float) -> list[Fall]:
    """One for each kind and set that has a difference; the worst mean first, attacks last."""
    found = []
    altered = [row for row in rows if row.idiom in ("transformation", "attack") and row.difference]
    for key in dict.fromkeys((row.set, row.name) for row in altered):
        found.append(_fall([row for row in altered if (row.set, row.name) == key], tolerated))
    return sorted(found, key=lambda one: (one.name == ATTACK, -one.mean))


def mean_fall(found: Sequence[Fall], of: str) -> float | None:
    """Mean fall over the kinds of corruption of a set, attacks aside; None where there is none."""
    means = [one.mean for one in found if one.set == of and one.name != ATTACK]
    return float(np.mean(means)) if means else None


def _fall(rows: Sequence[Row], tolerated: float) -> Fall:
    rows = sorted(rows, key=lambda row: row.severity)
    lost = [-row.difference.value for row in rows if row.difference]
    first = next((k for k, value in enumerate(lost) if value > tolerated), None)
    name, where = words_of(rows[0].name), f" on {rows[0].set}"
    if first is None:
        worst = int(np.argmax(lost))
        largest = f"the largest fall is {lost[worst]:.3f}" if lost[worst] > 0 else "it never falls"
        text = (
            f"{name}: the AUROC{where} does not fall by more than {tolerated:g} up to severity "
            f"{rows[-1].severity} ({_amount(rows[-1])}); {largest}."
        )
        return Fall(rows[0].set, rows[0].name, float(np.mean(lost)), None, max(lost), False, text)
    row = rows[first]
    difference = row.difference
    sure = difference is not None and difference.high < 0
    limit = row.scores["auroc"].value + lost[first] - tolerated
    text = (
        f"{name}: the AUROC{where} falls below {limit:.3f} at severity {row.severity} "
        f"({_amount(row)}): {row.scores['auroc'].value:.3f}, {lost[first]:.3f} less than clean"
        + ("." if sure else "; the interval of that difference holds 0.")
    )
    return Fall(row.set, row.name, float(np.mean(lost)), row.severity, max(lost), sure, text)


def _amount(row: Row) -> str:
    if row.unit.startswith(_NAMED_FIRST):
        return f"{row.unit} {row.amount:g}"
    return f"{row.amount:g} {row.unit}"
