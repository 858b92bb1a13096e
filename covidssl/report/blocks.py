"""What a report is made of: tables, pictures, single values, sentences; how a value is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from covidssl.answers import Answer
from covidssl.metrics import Estimate
from covidssl.strips import Strip

Cell = str | Estimate | None

_LONG_NAME, _LONG_PART = 48, 24


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


class Line(NamedTuple):
    """One curve of a chart.

    Attributes:
        name: in the legend.
        x, y: its points.
        low, high: ends of the interval at each point; None where there is none.
        hover: what each point says when it is pointed at; None: its numbers.
        points: whether points are marked, not only joined.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    hover: Sequence[str] | None = None
    points: bool = False


class Chart(NamedTuple):
    """Curves with values that can be pointed at; `diagonal` draws the line of chance."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    diagonal: bool = False
    kind: str = "chart"


class Facts(NamedTuple):
    """Single values with their names."""

    entries: Sequence[tuple[str, Cell]]
    kind: str = "facts"


class Note(NamedTuple):
    """A sentence; a warning stands out; an `incomplete` one marks its whole section so."""

    text: str
    warning: bool = False
    incomplete: bool = False
    kind: str = "note"


class Alarm(NamedTuple):
    """What nobody may overlook: a split that leaks, and was used."""

    text: str
    kind: str = "alarm"


class Sheets(NamedTuple):
    """A scan's strip of slices as data addresses; a map that there is none of is empty.

    `first` is the place in the strip of the slice that is shown first.
    """

    strip: Strip
    first: int
    slices: str
    lesion: str = ""
    evidence: str = ""


class ScanCard(NamedTuple):
    """A scan and what is said of it; `sheets` None where it has no pictures on the page."""

    answer: Answer
    sheets: Sheets | None = None


class Scans(NamedTuple):
    """Every scan of a prediction: a table, then a card for each.

    Attributes:
        counts: scans by outcome, all four of them.
        cards: in the order of the table.
        opened: so many, from the first, have a card below the table.
        left_out: scans that are not even in the table.
        by: the column by which they are in order, the highest first.
        layers: the maps that can be laid over slices.
    """

    counts: Sequence[tuple[str, int]]
    cards: Sequence[ScanCard]
    opened: int
    left_out: int = 0
    by: str = "Probability"
    layers: Sequence[str] = ("lesion", "evidence")
    kind: str = "scans"


Block = Table | Gallery | Chart | Facts | Note | Alarm | Scans


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


def shortened(name: str) -> str:
    """A path whose long parts, such as the numbers of DICOM folders, show their ends alone."""
    if len(name) <= _LONG_NAME:
        return name
    parts = name.split("/")
    return "/".join(p if len(p) <= _LONG_PART else f"{p[:10]}…{p[-8:]}" for p in parts)


def flat(value: Any, key: str = "") -> list[list[Cell]]:
    """Rows of name and value of all entries of an object, those within it by `outer.inner`."""
    if not isinstance(value, dict):
        return [[key, plain(value)]]
    return [row for k, v in value.items() for row in flat(v, f"{key}.{k}" if key else str(k))]


def lasted(seconds: float | None) -> str:
    """A duration as a person writes it."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
