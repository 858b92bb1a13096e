"""Verbs that learn: pretrain, finetune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covidssl.cli.application import app, say
from covidssl.cli.options import (
    AllowUnfinished,
    Cache,
    Config,
    Device,
    Devices,
    Init,
    Out,
    Overrides,
    Overwrite,
    Resume,
    if_exists,
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
    device: Device = Devices.AUTO,
    allow_unfinished: AllowUnfinished = False,
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

    settings = load_config(PretrainConfig, config, overrides or ())
    store = open_slices(data, allow_unfinished)
    say(f"{verb.main(settings, store, out, if_exists(resume, overwrite), init, device)}")


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
        str, typer.Option(help="A pretraining run, an encoder file, or 'none' for from scratch.")
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

    settings = load_config(FinetuneConfig, config, overrides or ())
    start = None if encoder == "none" else Path(encoder)
    places = verb.Places(out, start, init, cache, device, splits)
    run = verb.main(settings, data, places, if_exists(resume, overwrite), allow_leakage)
    say(f"{run / 'model'}")
