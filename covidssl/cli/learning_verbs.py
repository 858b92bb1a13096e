"""Verbs that learn: pretrain, finetune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covidssl.cli.application import app, say, say_lines
from covidssl.cli.options import (
    AUTO,
    AllowUnfinished,
    BatchSize,
    Cache,
    Config,
    Device,
    DeviceCount,
    Devices,
    DryRun,
    Init,
    Nodes,
    Out,
    Overrides,
    Overwrite,
    Precision,
    ProbeData,
    Resume,
    Strategies,
    Strategy,
    if_exists,
    machines,
    with_batch_size,
    with_precision,
)

# The verbs are imported where they are called: `--help` must not wait for PyTorch.


@app.command(
    epilog="Example: `covidssl pretrain -c configs/demo/pretrain.yaml --data stores/ours "
    "--out runs/pretrain`"
)
def pretrain(
    data: Annotated[
        str,
        typer.Option(
            metavar="STORE", help="A prepared store (also `s3://bucket/store`), or a pack's file."
        ),
    ],
    out: Out,
    config: Config = None,
    init: Init = None,
    probe_data: ProbeData = None,
    cache: Cache = None,
    device: Device = Devices.AUTO,
    devices: DeviceCount = "1",
    nodes: Nodes = 1,
    strategy: Strategy = Strategies.AUTO,
    precision: Precision = None,
    allow_unfinished: AllowUnfinished = False,
    batch_size: BatchSize = None,
    dry_run: DryRun = False,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Teach a U-Net to restore clean slices from ones with pseudo-lesions.

    Writes `restoration.safetensors` and `encoder.safetensors`, a card beside each, and pictures
    corrupted / restored / clean as it learns.
    """
    from covidssl.clean_slices import open_slices
    from covidssl.commands import pretrain as verb
    from covidssl.config import load_config
    from covidssl.experiments import PretrainConfig
    from covidssl.rehearsal import fitted_pretraining, rehearse_pretraining
    from covidssl.training import first_process, started_by_first

    given = with_precision(with_batch_size(overrides, batch_size), precision)
    settings = load_config(PretrainConfig, config, given).probing(probe_data, cache)
    store = open_slices(data, allow_unfinished)
    there, where = if_exists(resume, overwrite), machines(device, devices, nodes, strategy)
    if batch_size == AUTO and not started_by_first():
        settings = fitted_pretraining(settings, store, out, there, where)
    if dry_run:
        lines = rehearse_pretraining(settings, store, out, init, where, there)
        say_lines("What this run would take", lines)
        return
    run = verb.main(settings, store, out, there, init, where)
    if first_process():
        say(f"{run}")


@app.command(
    epilog="Example: `covidssl finetune -c configs/demo/finetune.yaml --data labels.csv "
    "--encoder runs/pretrain --out runs/finetune`"
)
def finetune(
    data: Annotated[
        Path,
        typer.Option(help="Two class folders, or a CSV path,label[,patient][,split]."),
    ],
    encoder: Annotated[
        str,
        typer.Option(
            help="A pretraining run, an encoder file, 'builtin' for the one that ships with "
            "covidssl, or 'none' for from scratch."
        ),
    ],
    out: Out,
    config: Config = None,
    init: Init = None,
    splits: Annotated[
        Path | None,
        typer.Option(help="A file of splits to use: a splits.csv, or a CSV scan,split."),
    ] = None,
    allow_leakage: Annotated[
        bool,
        typer.Option(
            "--allow-leakage", help="Use a split that leaks; every page made from it says so."
        ),
    ] = False,
    cache: Cache = None,
    device: Device = Devices.AUTO,
    devices: DeviceCount = "1",
    nodes: Nodes = 1,
    strategy: Strategy = Strategies.AUTO,
    precision: Precision = None,
    batch_size: BatchSize = None,
    dry_run: DryRun = False,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune an encoder on labelled images or scans.

    Writes the model folder `model/` and the splits; weights, calibration and operating point are
    chosen on validation, never on test. A split that leaks is refused: the same picture, a near
    duplicate or a patient on two sides of it, or a file order that carries patients torn apart.
    """
    from covidssl.commands import finetune as verb
    from covidssl.config import load_config
    from covidssl.experiments import FinetuneConfig
    from covidssl.finetuning import Places
    from covidssl.rehearsal import fitted_finetuning, rehearse_finetuning
    from covidssl.training import first_process, started_by_first

    given = with_precision(with_batch_size(overrides, batch_size), precision)
    settings = load_config(FinetuneConfig, config, given)
    start = None if encoder == "none" else Path(encoder)
    where = machines(device, devices, nodes, strategy)
    places = Places(out, start, init, cache, where, splits)
    there = if_exists(resume, overwrite)
    if batch_size == AUTO and not started_by_first():
        settings = fitted_finetuning(settings, data, places, there)
    if dry_run:
        lines = rehearse_finetuning(settings, data, places, there, allow_leakage)
        say_lines("What this run would take", lines)
        return
    run = verb.main(settings, data, places, there, allow_leakage)
    if first_process():
        say(f"{run / 'model'}")
