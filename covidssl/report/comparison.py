"""The comparison of arms that stands first on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, FiniteFloat

from covidssl.errors import UsageError
from covidssl.figures import Arm, comparison_figure
from covidssl.metrics import Estimate
from covidssl.report.blocks import Alarm, Block, Cell, Gallery, Note, Picture, Table, plain
from covidssl.report.evaluated import MEASURES
from covidssl.report.reading import Interval, UnreadError, address, read_json


class _ComparisonRow(BaseModel):
    arm: str
    fraction: FiniteFloat
    n_labels: int | None = None
    draws: int | None = None
    auroc: Interval
    accuracy: Interval | None = None
    leakage: str = ""


class _Difference(BaseModel):
    value: FiniteFloat
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None


class _Pair(BaseModel):
    first: str
    second: str
    test: str
    metric: str
    difference: _Difference
    p_value: FiniteFloat
    p_holm: FiniteFloat
    cautions: list[str] = Field(default_factory=list)


class _Comparison(BaseModel):
    title: str
    note: str = ""
    rows: list[_ComparisonRow] = Field(min_length=1)
    pairs: list[_Pair] = Field(default_factory=list)
    cautions: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class Headline:
    """The comparison that stands first; `leakage` of its arms, empty where nothing is said."""

    anchor: str
    name: str
    title: str
    note: str
    blocks: Sequence[Block]
    leakage: str


def read_headline(folder: Path, anchor: str, name: str) -> Headline:
    """Figure and table of a folder's `comparison.json`.

    Raises:
        UsageError: when the file is broken.
    """
    try:
        found = read_json(folder / "comparison.json", _Comparison)
    except UnreadError as error:
        raise UsageError(f"{folder}: {error}") from error
    arms = list(dict.fromkeys(row.arm for row in found.rows))
    ordered = sorted(found.rows, key=lambda row: (row.fraction, arms.index(row.arm)))
    figure = comparison_figure(
        [Arm(row.arm, row.fraction, row.auroc.estimate()) for row in found.rows]
    )
    columns = ("Labels used", "Number of labels", "Draws", "Arm", "AUROC", "Accuracy")
    rows: list[list[Cell]] = [
        [
            "all" if row.fraction == 1 else f"{100 * row.fraction:.3g} %",
            plain(row.n_labels),
            plain(row.draws),
            f"{row.arm} (LEAKS)" if row.leakage else row.arm,
            row.auroc.estimate(),
            row.accuracy.estimate() if row.accuracy else None,
        ]
        for row in ordered
    ]
    leaking = {row.arm: row.leakage for row in found.rows if row.leakage}
    leakage = "; ".join(f"{arm}: {text}" for arm, text in leaking.items())
    blocks: list[Block] = [
        *([Alarm(leakage)] if leakage else []),
        Gallery([Picture(address(figure), "AUROC of each arm", chart=True)]),
        Table("", columns, rows),
        *_of_pairs(found),
    ]
    return Headline(anchor, name, found.title, found.note, blocks, leakage)


def _of_pairs(found: _Comparison) -> list[Block]:
    """Every pair of models under every paired test; nothing where none was made."""
    if not found.pairs:
        return []
    rows: list[list[Cell]] = [
        [
            f"{one.first} against {one.second}",
            one.test,
            MEASURES.get(one.metric, one.metric),
            _difference(one.difference),
            _p(one.p_value),
            _p(one.p_holm),
            "; ".join(one.cautions),
        ]
        for one in found.pairs
    ]
    columns = ("models", "test", "score", "first minus second", "p", "p, Holm", "caution")
    notes: list[Block] = [Note(text, True) for text in found.cautions]
    return [Table("Paired tests on the same scans", columns, rows), *notes]


def _difference(one: _Difference) -> Cell:
    if one.low is None or one.high is None:
        return f"{one.value:.3f}"
    return Estimate(one.value, one.low, one.high)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
