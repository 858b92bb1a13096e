"""What a report is made of: tables, pictures, single values, sentences; how a value is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from covidssl.metrics import Estimate


class Bar(NamedTuple):
    """A cell that shows a share in [0, 1] as a number and a bar."""

    share: float


Cell = str | Estimate | Bar | None


class Table(NamedTuple):
    """A table; `left_out` rows were not shown; a `folded` one opens when it is clicked."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    left_out: int = 0
    folded: bool = False
    kind: str = "table"


class Picture(NamedTuple):
    """A PNG as a data address; a chart may be darkened with the page, a CT picture never."""

    address: str
    caption: str
    chart: bool = False


class Gallery(NamedTuple):
    """Pictures beside each other."""

    pictures: Sequence[Picture]
    caption: str = ""
    kind: str = "gallery"


class Facts(NamedTuple):
    """Single values with their names."""

    entries: Sequence[tuple[str, Cell]]
    kind: str = "facts"


class Note(NamedTuple):
    """A sentence; a warning stands out."""

    text: str
    warning: bool = False
    kind: str = "note"


class Alarm(NamedTuple):
    """What nobody may overlook: a split that leaks, and was used."""

    text: str
    kind: str = "alarm"


Block = Table | Gallery | Facts | Note | Alarm


def words(key: str) -> str:
    """A key as words."""
    return key.replace("_", " ").replace("auroc", "AUROC")


def plain(value: Any) -> str:
    """A value as a person writes it."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}"
    if isinstance(value, int | float):
        return f"{int(value):,}".replace(",", "\u202f")
    if isinstance(value, list | tuple):
        return ", ".join(plain(part) for part in value)
    return str(value)


def lasted(seconds: float | None) -> str:
    """A duration as a person writes it."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
