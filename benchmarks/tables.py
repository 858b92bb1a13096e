"""Results as text: tables for docs/benchmarks.md, and for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.rows import DEVICES, Device, Results, Row, is_met, read_results
from covidssl.errors import DataError
from covidssl.files import write_text

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
NAMES: dict[Device, str] = {"cpu": "CPU", "cuda": "GPU"}
_MOST_PLACES = 17
_SIGNS = {"at least": "≥", "at most": "≤"}


class Sheet(NamedTuple):
    """A table: its headings, which of them stand above words, and its lines of cells."""

    title: str
    headings: list[str]
    words: frozenset[str]
    lines: list[list[str]]


def with_tables(text: str, subjects: Iterable[str], results: Path) -> str:
    """The text with the tables of each subject between its markers, made from the results alone.

    Raises:
        DataError: when a subject has no markers in the text.
    """
    for subject in subjects:
        begin, end = f"<!-- {subject}:begin -->", f"<!-- {subject}:end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise DataError(f"docs/benchmarks.md: the markers {begin} and {end} are missing.")
        table = markdown(read_results(results / f"{subject}.json"))
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def write_tables(subjects: Iterable[str], results: Path, document: Path = DOCUMENT) -> None:
    """Remake the tables of the document."""
    text = document.read_text(encoding="utf-8")
    write_text(document, with_tables(text, subjects, results))


def markdown(results: Results) -> str:
    """Tables of a subject: for every device what it was, the bars, and all that was measured."""
    parts = []
    for device in DEVICES:
        rows = [row for row in results.rows if row.device == device]
        if not rows:
            parts.append(f"{NAMES[device]}: not measured.")
            continue
        parts.append(f"{NAMES[device]}: {_provenance(results.measured[device])}.")
        for sheet in sheets(rows):
            aligned = [":--" if name in sheet.words else "--:" for name in sheet.headings]
            lines = [sheet.headings, aligned, *sheet.lines]
            table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
            parts.append(f"{sheet.title}:\n\n{table}")
    return "\n\n".join(parts)


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the rows of one run, and how many bars were met."""
    for sheet in sheets(rows):
        table = Table(title=sheet.title, title_justify="left")
        for name in sheet.headings:
            table.add_column(name, justify="left" if name in sheet.words else "right")
        for line in sheet.lines:
            table.add_row(*line, style={"yes": "green", "no": "red"}.get(line[-1], ""))
        console.print(table)
    barred = [row for row in rows if row.bar is not None]
    met = sum(bool(row.met) for row in barred)
    console.print(f"{met} of {len(barred)} bars met" if barred else "no bar applies to this run")
    for device in DEVICES:
        if not any(row.device == device for row in rows):
            console.print(f"{NAMES[device]}: not measured")


def sheets(rows: Sequence[Row]) -> Iterator[Sheet]:
    """The rows with a bar one by one; then, for cases that hold rows without, a line a case."""
    barred = [row for row in rows if row.bar is not None]
    if barred:
        headings = ["case", "unit", "ours", "peer", "its", "ratio", "bar", "met"]
        lines = [_bar_line(row) for row in barred]
        yield Sheet("Bars", headings, frozenset({"case", "unit", "peer", "met"}), lines)
    cases: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        cases.setdefault((row.case, row.unit), {})[row.peer_name] = row
    open_cases = {
        key: found for key, found in cases.items() if any(row.bar is None for row in found.values())
    }
    if open_cases:
        peers = list(dict.fromkeys(name for found in open_cases.values() for name in found))
        headings = ["case", "unit", "ours", *peers]
        lines = [_case_line(key, found, peers) for key, found in open_cases.items()]
        yield Sheet("All, the ratio in brackets", headings, frozenset({"case", "unit"}), lines)


def shown_ratio(row: Row) -> str:
    """The ratio of a row in as few digits as keep it on its own side of the bar."""
    text, places = _number(row.ratio), 2
    while is_met(float(text), row.bound, row.bar) is not row.met and places < _MOST_PLACES:
        text, places = f"{row.ratio:.{places}f}", places + 1
    return text


def _bar_line(row: Row) -> list[str]:
    bar = f"{_SIGNS[row.bound]} {_number(row.bar)}" if row.bar is not None else ""
    peer = [row.peer_name, _number(row.peer)]
    met = "yes" if row.met else "no"
    return [row.case, row.unit, _number(row.ours), *peer, shown_ratio(row), bar, met]


def _case_line(key: tuple[str, str], found: dict[str, Row], peers: Sequence[str]) -> list[str]:
    ours = next(iter(found.values())).ours
    beside = [found.get(peer) for peer in peers]
    cells = [f"{_number(row.peer)} ({shown_ratio(row)})" if row else "" for row in beside]
    return [*key, _number(ours), *cells]


def _provenance(measured: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in measured["packages"].items())
    threads = " and ".join(str(number) for number in measured["threads"])
    return (
        f"{measured['processor']}, {measured['cores']} cores of the machine, threads {threads}; "
        f"Python {measured['python']}, {packages}; commit {measured['commit'] or 'unknown'}, "
        f"{measured['date']}"
    )


def _number(value: float) -> str:
    """Three digits, without an exponent."""
    if value >= 100:
        return f"{value:.0f}"
    if value and value < 1e-3:
        return f"{value:.5f}"
    return f"{value:.3g}"
