"""Verbs on what was learnt: evaluate, predict, report; and doctor."""

from __future__ import annotations

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
    HashPaths,
    IdsKey,
    Inputs,
    KeepIds,
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
    cache: Cache = None,
    device: Device = Devices.AUTO,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Score a classifier, every number with its 95 % bootstrap interval.

    Patients are resampled where they are known. A trivial rival, boosted trees on a thumbnail and a
    histogram, learns from the same labels and is scored beside it.
    """
    from covidssl.commands import evaluate as verb
    from covidssl.config import load_config
    from covidssl.experiments import EvaluateConfig

    settings = load_config(EvaluateConfig, None, [f"split={split}", *(overrides or ())])
    beside = verb.Beside(cache, device)
    say(f"{verb.main(settings, run, data, out, if_exists(resume, overwrite), beside)}")


@app.command(epilog="Example: `covidssl predict runs/finetune clinic/ --out predictions`")
def predict(
    model: Annotated[Path, typer.Argument(help="A fine-tuning run, or its model folder.")],
    inputs: Inputs,
    out: Out,
    device: Device = Devices.AUTO,
    hash_paths: HashPaths = False,
    keep_ids: KeepIds = False,
    ids_key: IdsKey = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """A probability with its evidence for every scan found.

    Exit code 0: all scans were read; 1: some failed, each with its reason in `predictions.csv`;
    2: wrong usage. The table names patients and series by pseudonyms where a key is given.
    """
    from covidssl.commands import predict as verb
    from covidssl.config import load_config
    from covidssl.experiments import PredictConfig

    ids = {"hash_paths": hash_paths, "keep_ids": keep_ids, "ids_key": ids_key}
    settings = load_config(PredictConfig, None, overrides or ())
    settings = settings.model_copy(update={key: value for key, value in ids.items() if value})
    failed = verb.main(settings, model, inputs, out, if_exists(resume, overwrite), device)
    say(f"{out / 'predictions.csv'}" + (f" ({failed} scans failed)" if failed else ""))
    if failed:
        raise typer.Exit(1)


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
