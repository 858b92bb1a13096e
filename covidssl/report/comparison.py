"""The comparison of arms that stands first on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, FiniteFloat

from covidssl.errors import UsageError
from covidssl.figures import Arm, comparison_figure
from covidssl.report.blocks import Alarm, Block, Cell, Gallery, Picture, Table, plain
from covidssl.report.reading import Interval, UnreadError, address, read_json


class _ComparisonRow(BaseModel):
    arm: str
    fraction: FiniteFloat
    n_labels: int | None = None
    draws: int | None = None
    auroc: Interval
    accuracy: Interval | None = None
    leakage: str = ""


class _Comparison(BaseModel):
    title: str
    note: str = ""
    rows: list[_ComparisonRow] = Field(min_length=1)


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
    ]
    return Headline(anchor, name, found.title, found.note, blocks, leakage)
