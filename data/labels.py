"""Writing `labels.csv`, the table that `covidssl finetune` and `covidssl evaluate` read."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from covidssl.errors import DataError, UsageError
from covidssl.files import read_csv, write_csv

COVID, NON_COVID = "COVID", "non-COVID"


@dataclass(frozen=True)
class Labelled:
    """One picture or scan: `path` relative to the source, its label, patient and split if known."""

    path: str
    label: str
    patient: str = ""
    split: str = ""


def exclusions(folder: Path) -> dict[str, str]:
    """Path and reason of each row of a data folder's `exclude.csv`; none where there is no such."""
    table = folder / "exclude.csv"
    return {row["path"]: row["reason"] for row in read_csv(table)} if table.is_file() else {}


def columns_of(table: Path, *needed: str) -> list[dict[str, str]]:
    """Rows of a table that a set comes with.

    Raises:
        DataError: when it is missing, or lacks one of the columns `needed`.
    """
    if not table.is_file():
        raise DataError(f"{table.name}: is not in the source. Look at the README.")
    rows = read_csv(table)
    found = list(rows[0]) if rows else []
    lacking = [column for column in needed if column not in found]
    if lacking:
        raise DataError(
            f"{table.name}: lacks the column {', '.join(lacking)}; found {', '.join(found)}."
        )
    return rows


def spread(rows: Sequence[Labelled], most: int | None) -> list[Labelled]:
    """At most `most` rows of each patient and label, spread evenly over those in their order."""
    if most is None:
        return list(rows)
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[row.patient or row.path, row.label].append(place)
    taken: set[int] = set()
    for places in groups.values():
        step = max(len(places) / most, 1.0)
        taken |= {places[int((i + 0.5) * step)] for i in range(min(most, len(places)))}
    return [row for place, row in enumerate(rows) if place in taken]


def outside(source: Path, out: Path) -> Path:
    """`out`, which must not lie in the source.

    Raises:
        UsageError: when it does: the source is never written to.
    """
    if out.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{out}: lies in the source, which is never written to; choose another.")
    return out


def write_labels(
    rows: Sequence[Labelled], excluded: Mapping[str, str], source: Path, out: Path
) -> tuple[Path, list[Labelled]]:
    """Write `out/labels.csv` without the excluded rows; gives its path and the rows kept.

    Paths in the table are relative to `out`, with `..` where the source lies elsewhere. A column
    that is empty in all rows is left out.

    Raises:
        UsageError: when `out` lies in the source, which is never written to.
    """
    outside(source, out)
    kept = [row for row in rows if row.path not in excluded]
    way = Path(os.path.relpath(source.resolve(), out.resolve()))
    optional = [name for name in ("patient", "split") if any(getattr(row, name) for row in kept)]
    table = out / "labels.csv"
    write_csv(
        table,
        ("path", "label", *optional),
        (vars(row) | {"path": (way / row.path).as_posix()} for row in kept),
    )
    return table, kept


def tell(table: Path, kept: Sequence[Labelled], rows: Sequence[Labelled], what: str) -> None:
    """Print what was written, and how much was left out."""
    counts = {label: sum(row.label == label for row in kept) for label in (COVID, NON_COVID)}
    typer.echo(
        f"{table}: {len(kept)} {what}, {len(rows) - len(kept)} left out; "
        + ", ".join(f"{count} {label}" for label, count in counts.items())
    )
