"""The verb that alters scans to see whether the answers hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covidssl.cli.application import app, say, say_lines
from covidssl.cli.options import (
    Config,
    Device,
    Devices,
    Out,
    Overrides,
    Overwrite,
    Resume,
    if_exists,
)

# The verb is imported where it is called: `--help` must not wait for PyTorch.


@app.command(
    epilog="Example: `covidssl robustness runs/finetune --data labels.csv --split test "
    "--out runs/robustness`"
)
def robustness(
    run: Annotated[Path, typer.Argument(help="A fine-tuning run.")],
    data: Annotated[Path, typer.Option(help="The labelled dataset, or another one.")],
    out: Out,
    split: Annotated[
        str | None, typer.Option(help="train, validation, test, or all.", show_default="test")
    ] = None,
    external: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Another labelled set beside it; repeatable."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Subpopulations of a column of the CSV; repeatable."),
    ] = None,
    config: Config = None,
    device: Device = Devices.AUTO,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take; write nothing.")
    ] = False,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Alter the scans on purpose, and see whether the answers hold.

    CT corruptions at five severities in physical units, attacks, subpopulations, and other sets:
    one table, one figure. Each scan is read once; what is found of it is kept, for `--resume`.
    """
    from covidssl.commands import robustness as verb
    from covidssl.config import load_config
    from covidssl.evaluation.external import externals_of
    from covidssl.robustness.plan import RobustnessConfig

    given = [*([f"split={split}"] if split else ()), *(overrides or ())]
    settings = load_config(RobustnessConfig, config, given)
    if by:
        settings = settings.model_copy(update={"by": tuple(by)})
    beside = verb.Beside(externals_of(external or ()), device)
    if dry_run:
        say_lines("What this suite would take", verb.dry_run(settings, run, data, beside))
        return
    say(f"{verb.main(settings, run, data, out, if_exists(resume, overwrite), beside)}")
