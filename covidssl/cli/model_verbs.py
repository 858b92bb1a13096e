"""Verbs on what was learnt: evaluate, compare, predict, report; and doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from covidssl.cli.application import app, say
from covidssl.cli.options import (
    Cache,
    Device,
    Devices,
    Out,
    Overrides,
    Overwrite,
    Resume,
    if_exists,
)

# The verbs are imported where they are called: `--help` must not wait for PyTorch.


@app.command(
    epilog="Example: `covidssl evaluate runs/finetune --data labels.csv --split test "
    "--out runs/evaluate`"
)
def evaluate(
    run: Annotated[Path, typer.Argument(help="A fine-tuning run.")],
    data: Annotated[Path, typer.Option(help="The labelled dataset, or another one.")],
    out: Out,
    split: Annotated[str, typer.Option(help="train, validation, test, or all.")] = "test",
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Score subgroups by this column of the CSV too; numbers in thirds. Repeatable.",
        ),
    ] = None,
    external: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="Score this labelled set too, with the same operating point. Repeatable.",
        ),
    ] = None,
    prevalence: Annotated[
        list[float] | None,
        typer.Option(metavar="SHARE", help="Give PPV and NPV at this prevalence too. Repeatable."),
    ] = None,
    cache: Cache = None,
    device: Device = Devices.AUTO,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Score a classifier, every number with its 95 % bootstrap interval.

    Patients are resampled where they are known. Trivial models learn from the same labels and are
    scored beside it, and so is the model itself on images without what a shortcut would feed on.
    """
    from covidssl.commands import evaluate as verb
    from covidssl.config import load_config
    from covidssl.evaluation.external import externals_of
    from covidssl.experiments import EvaluateConfig

    given = {"by": by, "prevalence": prevalence}
    lists = [f"{key}={json.dumps(values)}" for key, values in given.items() if values]
    settings = load_config(EvaluateConfig, None, [f"split={split}", *lists, *(overrides or ())])
    beside = verb.Beside(cache, device, externals_of(external or ()))
    say(f"{verb.main(settings, run, data, out, if_exists(resume, overwrite), beside)}")


@app.command(epilog="Example: `covidssl compare runs/evaluate-a runs/evaluate-b --out runs/a-b`")
def compare(
    evaluations: Annotated[
        list[Path], typer.Argument(help="Folders of 'evaluate', of the same scans.")
    ],
    out: Out,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Which of several models is better on the same scans, and how sure that is.

    Paired DeLong, permutation and McNemar tests of all pairs, corrected for their number by Holm.
    """
    from covidssl.commands import compare as verb
    from covidssl.config import load_config
    from covidssl.experiments import CompareConfig

    settings = load_config(CompareConfig, None, overrides or ())
    say(f"{verb.main(settings, evaluations, out, if_exists(resume, overwrite))}")


@app.command(epilog="Example: `covidssl report runs/* --out report.html`")
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of any verbs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page.")] = False,
) -> None:
    """One self-contained page of figures, tables, pictures and provenance."""
    from covidssl.commands import report as verb

    say(f"{verb.main(runs, out, overwrite)}")


@app.command(epilog="Example: `covidssl doctor`")
def doctor() -> None:
    """Versions, devices, memory; what optional parts are missing and how to get them."""
    from covidssl.commands import doctor as verb

    table = Table("what", "found", "to do", box=None, pad_edge=False)
    for row in verb.main():
        table.add_row(*row)
    Console().print(table)
