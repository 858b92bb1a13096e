"""What the commands of all studies share: their options, and how their stages are carried out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from threadpoolctl import threadpool_limits

from covidssl.errors import CovidsslError, StoppedError
from pipelines.study.stages import Stage, chosen, plan_table, run_stages, stopping_after

Data = Annotated[Path, typer.Option(help="Folder with luna16-slices, sars-cov-2-ct and covid-ct.")]
Runs = Annotated[Path, typer.Option(help="Folder of runs, outside the checkout.")]
Records = Annotated[Path, typer.Option(help="Folder of records.")]
Images = Annotated[Path, typer.Option(help="Folder of charts.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what is left.")]
Only = Annotated[list[str] | None, typer.Option(help="Stages, such as '*-none'.")]

RECORDS, IMAGES = Path("docs/records"), Path("docs/images")


def carry_out(stages: Sequence[Stage], runs: Path, only: Sequence[str], dry_run: bool) -> None:
    """Do what is left of a study's stages, or only say what would be done and how long it takes.

    What was wrong, or that a signal stopped it, is said in a line and in the exit status.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # Small pictures: with more threads a convolution mostly waits.
    torch.set_num_threads(1)
    try:
        if dry_run:
            typer.echo(plan_table(chosen(stages, only)))
            return
        with threadpool_limits(1), stopping_after():
            run_stages(stages, runs / "locks", only)
    except CovidsslError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.code if isinstance(error, StoppedError) else 1) from error
