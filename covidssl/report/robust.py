"""What a suite of robustness found, as blocks of the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field

from covidssl.report.blocks import Block, Cell, Chart, Facts, Line, Note, Table, plain, words
from covidssl.report.reading import Interval, read_json

_ALTERED = ("transformation", "attack")
_COLUMNS = ("severity", "amount", "scans", "AUROC", "against clean", "sensitivity", "specificity",
            "labels changed")  # fmt: skip


_PARTS = {
    "evaluation set": "Sets as they are",
    "subpopulation": "Subpopulations; the difference is to the rest",
}


class _Row(BaseModel):
    set: str
    idiom: str
    name: str
    severity: int
    amount: float
    unit: str
    scans: int
    positives: int
    groups: int
    scores: dict[str, Interval]
    difference: Interval | None = None
    changed: float | None = None
    note: str = ""


class _Fall(BaseModel):
    name: str
    mean: float
    text: str


class _NotApplied(BaseModel):
    set: str
    name: str
    severity: int
    scans: int
    of: int
    reason: str


class _Robustness(BaseModel):
    tolerated: float
    rows: list[_Row]
    falls: list[_Fall]
    mean_fall: float | None = None
    models: dict[str, str] = Field(default_factory=dict)
    not_applied: list[_NotApplied] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)


def robust(folder: Path) -> list[Block]:
    """The sentences, a chart of all kinds, a table for each idiom, and what did not apply."""
    found = read_json(folder / "robustness.json", _Robustness)
    blocks: list[Block] = [Note(text, warning=True) for text in found.warnings]
    if found.mean_fall is not None:
        blocks.append(
            Facts([("Mean fall of the AUROC over all corruptions", plain(found.mean_fall))])
        )
    blocks += [Note(fall.text) for fall in found.falls]
    altered = [row for row in found.rows if row.idiom in _ALTERED]
    lines = [_line(same) for own in _by_name(altered) for same in _by_scans(own)]
    if lines:
        blocks.append(Chart("AUROC against severity", "severity (0: the same scans clean)", "AUROC",
                            lines))  # fmt: skip
    for idiom, caption in _PARTS.items():
        own = [row for row in found.rows if row.idiom == idiom]
        if own:
            blocks.append(_parts(caption, own))
    blocks += [_altered(own, found.models) for own in _by_name(altered)]
    if found.not_applied:
        rows = [
            (words(one.name), plain(one.severity), f"{one.scans} of {one.of}", one.reason)
            for one in found.not_applied
        ]
        columns = ("corruption", "severity", "scans", "why")
        blocks.append(Table("Not applied, and not scored", columns, rows, folded=True))
    return blocks


def _by_name(rows: Sequence[_Row]) -> list[list[_Row]]:
    names = dict.fromkeys(row.name for row in rows)
    return [[row for row in rows if row.name == name] for name in names]


def _clean(row: _Row) -> float | None:
    """AUROC of the row's own scans as they are."""
    if row.difference is None or "auroc" not in row.scores:
        return None
    return row.scores["auroc"].value - row.difference.value


def _by_scans(rows: Sequence[_Row]) -> list[list[_Row]]:
    """Rows of the same scans together: only they can be joined by a line."""
    same: dict[tuple[int, float], list[_Row]] = {}
    for row in rows:
        clean = _clean(row)
        if clean is not None:
            same.setdefault((row.scans, round(clean, 9)), []).append(row)
    return list(same.values())


def _line(rows: Sequence[_Row]) -> Line:
    """A line of the same scans that begins at their clean score, so that a fall is seen from it."""
    clean, of = _clean(rows[0]) or 0.0, f"of {rows[0].scans} scans"
    scores = [row.scores["auroc"] for row in rows]
    return Line(
        words(rows[0].name),
        [0.0, *(float(row.severity) for row in rows)],
        [clean, *(one.value for one in scores)],
        # The interval stands in the table of sets; this one is where the others begin.
        [clean, *(one.low for one in scores)],
        [clean, *(one.high for one in scores)],
        [
            f"clean: {clean:.3f} {of}",
            *(
                f"{words(row.name)} {row.amount:g} {row.unit}: {one.value:.3f} "
                f"({one.low:.3f} to {one.high:.3f}) {of}"
                for row, one in zip(rows, scores, strict=True)
            ),
        ],
        points=True,
    )


def _parts(caption: str, rows: Sequence[_Row]) -> Table:
    cells: list[list[Cell]] = [
        [row.set if row.idiom == "evaluation set" else row.name, plain(row.scans),
         plain(row.positives), plain(row.groups), _cell(row, "auroc"),
         row.difference.estimate() if row.difference else None, _cell(row, "sensitivity"),
         _cell(row, "specificity"), row.note]
        for row in rows
    ]  # fmt: skip
    columns = ("which", "scans", "positive", "groups", "AUROC", "difference", "sensitivity",
               "specificity", "note")  # fmt: skip
    return Table(caption, columns, cells)


def _altered(rows: Sequence[_Row], models: dict[str, str]) -> Table:
    cells: list[list[Cell]] = [
        [plain(row.severity), f"{row.amount:g}", plain(row.scans), _cell(row, "auroc"),
         row.difference.estimate() if row.difference else None, _cell(row, "sensitivity"),
         _cell(row, "specificity"), None if row.changed is None else f"{row.changed:.1%}"]
        for row in rows
    ]  # fmt: skip
    name, unit = rows[0].name, rows[0].unit
    caption = f"{words(name)} ({unit}): {models.get(name, '')}".rstrip(": ")
    return Table(caption, _COLUMNS, cells, folded=True)


def _cell(row: _Row, name: str) -> Cell:
    return row.scores[name].estimate() if name in row.scores else None
