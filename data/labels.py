"""Writing `labels.csv`, the table that `covidssl finetune` and `covidssl evaluate` read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from covidssl.errors import UsageError
from covidssl.files import read_csv, write_csv

COVID, NON_COVID = "COVID", "non-COVID"


@dataclass(frozen=True)
class Labelled:
    """One picture: `path` relative to the source, its label, patient and split where known."""

    path: str
    label: str
    patient: str = ""
    split: str = ""


def exclusions(folder: Path) -> dict[str, str]:
    """Path and reason of each row of a data folder's `exclude.csv`."""
    return {row["path"]: row["reason"] for row in read_csv(folder / "exclude.csv")}


def write_labels(
    rows: Sequence[Labelled], excluded: Mapping[str, str], source: Path, out: Path
) -> tuple[Path, list[Labelled]]:
    """Write `out/labels.csv` without the excluded rows; gives its path and the rows kept.

    Paths in the table are relative to `out`, with `..` where the source lies elsewhere. A column
    that is empty in all rows is left out.

    Raises:
        UsageError: when `out` lies in the source, which is never written to.
    """
    if out.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{out}: lies in the source, which is never written to; choose another.")
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
