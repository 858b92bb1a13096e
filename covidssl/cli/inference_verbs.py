"""The verb that asks a model about scans: predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covidssl.cli.application import app, say, say_aside
from covidssl.cli.options import (
    Backends,
    Device,
    Devices,
    Engines,
    HashPaths,
    IdsKey,
    KeepIds,
    Out,
    Overrides,
    Overwrite,
    Resume,
    ScanInputs,
    if_exists,
)
from covidssl.counting import counted
from covidssl.errors import UsageError

# The verb is imported where it is called: `--help` must not wait for PyTorch.


@app.command(epilog="Example: `covidssl predict runs/finetune clinic/ --out predictions`")
def predict(
    model: Annotated[
        Path,
        typer.Argument(
            help="A fine-tuning run, or its model folder. 'builtin', or a pretraining run: lesion "
            "maps and burden alone."
        ),
    ],
    inputs: ScanInputs,
    out: Out,
    ensemble: Annotated[
        list[Path] | None,
        typer.Option(metavar="MODEL", help="Another model to ask beside it; repeatable."),
    ] = None,
    device: Device = Devices.AUTO,
    backend: Annotated[Backends, typer.Option(help="What runs the networks.")] = Backends.TORCH,
    force: Annotated[
        bool, typer.Option("--force", help="Answer also where the model would abstain.")
    ] = False,
    augmentations: Annotated[
        int, typer.Option(min=0, max=64, help="Looks at each scan for its uncertainty.")
    ] = 0,
    no_maps: Annotated[
        bool, typer.Option("--no-maps", help="Make no lesion map and no evidence map.")
    ] = False,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Write the maps as DICOM SEG and SR, too.")
    ] = False,
    engine: Annotated[
        Engines, typer.Option(help="ray: on a cluster whose machines share the folders.")
    ] = Engines.LOCAL,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that read, 0 for a thread; with ray: actors."),
    ] = None,
    scan_timeout: Annotated[
        float,
        typer.Option(metavar="S", help="Seconds after which a process gives a scan up; 0: never."),
    ] = 600.0,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Answer the i-th of n parts, into a folder of its own."),
    ] = None,
    join: Annotated[
        bool, typer.Option("--join", help="Make one table of all shards in --out.")
    ] = False,
    hash_paths: HashPaths = False,
    keep_ids: KeepIds = False,
    ids_key: IdsKey = None,
    overrides: Overrides = None,
    resume: Resume = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --resume: read failed scans again.")
    ] = False,
    overwrite: Overwrite = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count, try a few scans, and say what it would take.")
    ] = False,
) -> None:
    """A probability with its evidence for every scan found.

    A restoration network alone (`builtin`, a pretraining run) gives lesion maps and burden, and no
    probability.

    Exit code 0: every scan was answered; 1: some were not, each with its reason in
    `predictions.csv`; 2: wrong usage, nothing was done. The table names patients and series by
    pseudonyms where a key is given.
    """
    from covidssl.commands import predict as verb
    from covidssl.config import load_config
    from covidssl.experiments import PredictConfig
    from covidssl.inference.engines import Engine
    from covidssl.inference.shard import Shard

    given: dict[str, object] = {
        "hash_paths": hash_paths, "keep_ids": keep_ids, "ids_key": ids_key, "force": force,
        "dicom": dicom, "augmentations": augmentations,
    }  # fmt: skip
    changed = {key: value for key, value in given.items() if value}
    changed |= {"maps": False} if no_maps else {}
    changed |= {"backend": backend.value} if backend is not Backends.TORCH else {}
    settings = load_config(PredictConfig, None, overrides or ()).model_copy(update=changed)
    models = [model, *(ensemble or ())]
    part = Shard.parse(shard) if shard is not None else None
    limit_s = scan_timeout if scan_timeout > 0 else None
    asked = Engine(engine.value, workers, limit_s)
    how = verb.How(device.value, asked, part, retry_failed, say_aside)
    if join and (part is not None or dry_run or resume or overwrite):
        raise UsageError("--join makes a table of shards that are there: give it alone.")
    if dry_run:
        if_there = if_exists(resume, overwrite)
        for line in verb.dry_run(settings, models, inputs, out, if_there, how):
            say(line)
        return
    if join:
        failed = verb.join(settings, models, inputs, out, say_aside)
    else:
        failed = verb.main(settings, models, inputs, out, if_exists(resume, overwrite), how)
    table = (part.folder(out) if part is not None else out) / "predictions.csv"
    say(f"{table}" + (f" ({counted(failed, 'scan')} without an answer)" if failed else ""))
    if failed:
        raise typer.Exit(1)
