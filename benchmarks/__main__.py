"""The benchmarks' command: all subjects or one, measured here and now.

python -m benchmarks --only perlin
python -m benchmarks --quick          tiny sizes, no bars: does everything run?
python -m benchmarks --table          remake the tables of docs/benchmarks.md
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.rows import RESULTS, Device, Row, missed, replace_rows
from benchmarks.tables import show, shown_ratio, write_tables
from covidssl.errors import CovidsslError, UsageError

_WIDE = 170
_QUICK_RESULTS = Path("work") / "benchmarks"


class Subject(StrEnum):
    """What can be measured, a file each."""

    PERLIN = "perlin"
    OVERHEAD = "overhead"
    STORE = "store"
    READERS = "readers"
    LUNGS = "lungs"
    THROUGHPUT = "throughput"
    KILL_RESUME = "kill_resume"
    PREDICT = "predict"
    BOOTSTRAP = "bootstrap"
    SOAK = "soak"


class Where(StrEnum):
    """Devices to measure on."""

    ALL = "all"
    CPU = "cpu"
    CUDA = "cuda"


def main(
    only: Annotated[Subject | None, typer.Option(help="One subject; all without it.")] = None,
    quick: Annotated[bool, typer.Option(help="Tiny sizes, no bars.")] = False,
    strict: Annotated[bool, typer.Option(help="Exit with 1 where a bar is missed.")] = False,
    table: Annotated[bool, typer.Option(help="Remake the tables; measure nothing.")] = False,
    device: Annotated[Where, typer.Option(help="`all` is every device here.")] = Where.ALL,
    results: Annotated[Path | None, typer.Option(help="Folder of the results.")] = None,
) -> None:
    """Measure, print, write the results; after a full run, remake docs/benchmarks.md."""
    try:
        if table:
            write_tables(Subject, results or RESULTS)
            return
        folder = results or (_QUICK_RESULTS if quick else RESULTS)
        published = folder.resolve() == RESULTS.resolve()
        if quick and published:
            raise UsageError(
                f"--results {folder}: holds what the page shows; --quick is no result."
            )
        behind = [
            row for subject in _chosen(only) for row in measure(subject, device, quick, folder)
        ]
        if published and not quick:
            write_tables(Subject, folder)
    except CovidsslError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    if behind and strict:
        raise typer.Exit(1)


def measure(subject: Subject, where: Where, quick: bool, folder: Path) -> list[Row]:
    """Measure a subject on the devices that are here, write and print it; the rows that missed."""
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width of its own
        console = Console(width=_WIDE)
    found: list[Row] = []
    for device in _devices(where):
        # A subject is imported when it is asked for: one takes seconds to load.
        run: Callable[[Device, bool], tuple[list[Row], tuple[int, ...]]] = import_module(
            f"benchmarks.{subject}"
        ).run
        rows, threads = run(device, quick)
        replace_rows(folder / f"{subject}.json", device, rows, threads)
        found += rows
    console.print(f"[bold]{subject}[/bold]")
    show(found, console)
    behind = missed(found)
    for row in behind:
        asked = f"{row.bound} {row.bar}, {row.peer_name}"
        console.print(f"missed: {row.case}: {shown_ratio(row)} ({asked})")
    return behind


def _chosen(only: Subject | None) -> Sequence[Subject]:
    return list(Subject) if only is None else [only]


def _devices(where: Where) -> Sequence[Device]:
    both: Mapping[Where, Sequence[Device]] = {
        Where.ALL: ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",),
        Where.CPU: ("cpu",),
        Where.CUDA: ("cuda",),
    }
    return both[where]


if __name__ == "__main__":
    typer.run(main)
