"""Whether the table of a prediction and the answers beside it say the same of every scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from covidssl.answers import Answer, Outcome
from covidssl.report.blocks import plain
from covidssl.report.reading import UnreadError, number, read_rows

_COMPARED = ("scan", "outcome", "probability", "label")
_ROUNDED = 1e-6  # the table has six decimals


def disagreements(table: Path, answers: Mapping[str, Answer]) -> list[str]:
    """What does not go together, a sentence each; none where all does.

    Args:
        table: the CSV file with a row a scan.
        answers: by the stem of their files.
    """
    alone = [text for stem, answer in answers.items() for text in _in_itself(stem, answer)]
    try:
        rows = read_rows(table)
    except UnreadError as error:
        return [*alone, str(error)]
    lacking = [name for name in _COMPARED if rows and name not in rows[0]]
    if lacking:
        return [*alone, f"{table.name} has no column {lacking[0]!r}."]
    return [*alone, *_with_rows(table.name, rows, answers)]


def _in_itself(stem: str, answer: Answer) -> Iterator[str]:
    answered = answer.outcome in (Outcome.OK, Outcome.WARNED)
    if answered and answer.probability is None and not answer.no_probability:
        yield f"scans/{stem}.json is {answer.outcome} and has no probability."
    if answer.no_probability and answer.probability is not None:
        yield f"scans/{stem}.json has a probability, and says why there is none."
    if not answered and answer.probability is not None:
        yield f"scans/{stem}.json is {answer.outcome} and has a probability."


def _with_rows(
    table: str, rows: Sequence[Mapping[str, str]], answers: Mapping[str, Answer]
) -> Iterator[str]:
    often = Counter(row["scan"] for row in rows)
    known = {answer.scan for answer in answers.values()}
    for name, count in often.items():
        if count > 1:
            yield f"{table} names {name!r} {count} times."
        if name not in known:
            yield f"{table} names {name!r}, of which there is no answer."
    by_name = {row["scan"]: row for row in rows}
    for stem, answer in answers.items():
        if answer.scan not in by_name:
            yield f"scans/{stem}.json tells of {answer.scan!r}, which {table} does not name."
            continue
        row = by_name[answer.scan]
        for name in _COMPARED[1:]:
            said = getattr(answer, name)
            if not _same(said, row[name]):
                there = row[name] or "–"
                yield f"scans/{stem}.json says {name} {plain(said)}, {table} {there}."


def _same(said: float | str | None, cell: str) -> bool:
    if not isinstance(said, float):
        return cell == str(said or "")
    value = number(cell)
    return value is not None and abs(value - said) <= _ROUNDED
