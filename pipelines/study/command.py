"""What the commands of all studies share: their options, and how their stages are carried out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer
from threadpoolctl import threadpool_limits

from covidssl.errors import CovidsslError, StoppedError
from pipelines.study.stages import Stage, chosen, plan_table, run_stages, stopping_after


def _folder_of_sets(data: Path) -> Path:
    if not data.is_dir():
        raise typer.BadParameter(
            f"{data}: there is no such folder. Expected the one that holds the sets: "
            f"luna16-slices, sars-cov-2-ct and covid-ct."
        )
    return data


Data = Annotated[
    Path,
    typer.Option(
        help="Folder with luna16-slices, sars-cov-2-ct and covid-ct.", callback=_folder_of_sets
    ),
]
Runs = Annotated[Path, typer.Option(help="Folder of runs, outside the checkout.")]
Records = Annotated[Path, typer.Option(help="Folder of records.")]
Images = Annotated[Path, typer.Option(help="Folder of charts.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what is left.")]
Only = Annotated[list[str] | None, typer.Option(help="Stages, such as '*-none'.")]

RECORDS, IMAGES = Path("docs/records"), Path("docs/images")


@contextmanager
def at_work(stop_after: float | None = None) -> Iterator[None]:
    """What a command does: SIGTERM, or the end of so many minutes, stops it.

    What was wrong, or that it was stopped, is said in a line and in the exit status.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        with stopping_after(stop_after):
            yield
    except CovidsslError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.code if isinstance(error, StoppedError) else 1) from error


def carry_out(
    stages: Sequence[Stage],
    runs: Path,
    only: Sequence[str],
    dry_run: bool,
    stop_after: float | None = None,
) -> None:
    """Do what is left of a study's stages, or only say what would be done and how long it takes.

    Args:
        stages: all of them.
        runs: folder of runs.
        only: patterns of names; none: all stages.
        dry_run: only say it.
        stop_after: minutes.
    """
    # Small pictures: with more threads a convolution mostly waits.
    torch.set_num_threads(1)
    with at_work(stop_after):
        if dry_run:
            typer.echo(plan_table(chosen(stages, only)))
            return
        with threadpool_limits(1):
            run_stages(stages, runs / "locks", only)
