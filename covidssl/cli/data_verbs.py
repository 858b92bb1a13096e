"""Verbs on unlabelled data: prepare, preview."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from covidssl.cli.application import app, say
from covidssl.cli.options import (
    MOST_SLICES,
    AllowUnfinished,
    Cache,
    Config,
    Engines,
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
from covidssl.errors import UsageError

# The verbs are imported where they are called: `--help` must not wait for PyTorch.


@app.command(epilog="Example: `covidssl prepare scans/ more.nii.gz --out stores/ours`")
def prepare(
    inputs: Inputs,
    out: Out,
    config: Config = None,
    lungs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Lung masks, called as the scans are.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Scans worked on at a time.")] = 1,
    engine: Annotated[
        Engines, typer.Option(help="Where: on this machine, or on a Ray cluster.")
    ] = Engines.LOCAL,
    hash_paths: HashPaths = False,
    keep_ids: KeepIds = False,
    ids_key: IdsKey = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Read scans again that failed before.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take; write nothing.")
    ] = False,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Read CT of any kind, find lungs, and write a store to learn from.

    One row a scan goes to `manifest.csv`, with its verdict in plain words, and a picture with its
    lung mask to `qc.html`; a scan that cannot be read never stops the others. With `--resume` the
    options may be others: what would come out the same is not read again.

    Exit code 0: the store holds scans to learn from; 1: not one of those found can be used, and
    `manifest.csv` says why; 2: wrong usage.
    """
    from covidssl.commands import prepare as verb
    from covidssl.config import load_config
    from covidssl.experiments import PrepareConfig
    from covidssl.preparing import Engine

    settings = load_config(PrepareConfig, config, overrides or ())
    given = {
        "hash_paths": hash_paths, "keep_ids": keep_ids, "ids_key": ids_key, "lungs_folder": lungs,
    }  # fmt: skip
    settings = settings.model_copy(update={key: value for key, value in given.items() if value})
    how = verb.How(Engine(engine.value, workers), retry_failed)
    if dry_run:
        for line in verb.dry_run(settings, inputs, out, how):
            say(line)
        return
    counts = verb.main(settings, inputs, out, if_exists(resume, overwrite), how)
    say(f"{out}: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    if not verb.usable(counts):
        raise typer.Exit(1)


@app.command(
    epilog="Example: `covidssl pack stores/ours --size 224 --out ours.safetensors --split 60`"
)
def pack(
    store: Annotated[str, typer.Argument(help="A prepared store; also `s3://bucket/store`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The `.safetensors` file to write.")],
    size: Annotated[int | None, typer.Option(help="Edge of a frame in pixels [128].")] = None,
    bits: Annotated[
        int | None, typer.Option(help="Of a pixel: 16 are exact, 8 take half the room [16].")
    ] = None,
    split: Annotated[
        float | None, typer.Option(metavar="MIB", help="Write parts of at most so many MiB.")
    ] = None,
    config: Config = None,
    allow_unfinished: AllowUnfinished = False,
    overrides: Overrides = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Cut a store's slices to frames, into one file that `pretrain --data` reads.

    The machine that trains needs none of the readers then, and no Zarr. Frames are cut as by
    `--set frame.margin=...`, which must be the training's own.
    """
    from covidssl.commands import pack as verb
    from covidssl.config import load_config
    from covidssl.experiments import PackConfig

    given = {"frame.size": size, "bits": bits}
    keys = [f"{key}={value}" for key, value in given.items() if value is not None]
    settings = load_config(PackConfig, config, [*(overrides or ()), *keys])
    for path in verb.main(settings, store, out, split, overwrite, allow_unfinished):
        say(f"{path}")


@app.command(epilog="Example: `covidssl preview stores/ours --out previews/ours`")
def preview(
    store: Annotated[str, typer.Argument(help="A prepared store; also `s3://bucket/store`.")],
    out: Out,
    config: Config = None,
    lesions: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME_OR_YAML",
            help="A column of the page: a preset or a file of ranges; repeatable.",
        ),
    ] = None,
    slab: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=MOST_SLICES,
            help="Draw in 3D through this many neighbouring slices of a scan.",
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(help="Render these draws again: a draws.json, or params_to_json's text."),
    ] = None,
    allow_unfinished: AllowUnfinished = False,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Look at pseudo-lesions before learning from them.

    Writes `preview.html`, a page of presets side by side with their densities; `preview.png`, a
    sheet clean / lung mask / pseudo-lesion / difference with the numbers of each draw; and
    `draws.json`, from which `--replay` draws the same lesions again. Unless `frame.pixels` is given
    the store's kind of pixel is taken.
    """
    from covidssl.commands import preview as verb
    from covidssl.config import load_config
    from covidssl.experiments import PreviewConfig
    from covidssl.preview import compared

    slabs = [] if slab is None else ["slab=true", f"slices={slab}"]
    settings = load_config(PreviewConfig, config, [*(overrides or ()), *slabs])
    settings = compared(settings, lesions or ())
    done = verb.main(settings, store, out, if_exists(resume, overwrite), replay, allow_unfinished)
    say(f"{done}")


@app.command(epilog="Example: `covidssl download covid_19_ct_seg --accept-licence`")
def download(
    name: Annotated[
        str | None, typer.Argument(help="A set of data/; without one, all are listed.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the files [data/NAME/raw].")
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Option(
            "--file", metavar="NAME", help="Fetch this file only, or `*.csv`; repeatable."
        ),
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="The licence is known and accepted.")
    ] = False,
) -> None:
    """Fetch the files of a public set that can be had without a login.

    Shows files, sizes and licence, and asks. A download that was stopped is gone on with; a file
    gets its name when it is whole and its checksum is the published one. Nothing is unpacked.
    """
    from covidssl.commands import download as verb

    if name is None:
        table = Table("set", "licence", "size", "how", box=None, pad_edge=False)
        for row in verb.listing():
            table.add_row(*row)
        Console().print(table)
        return
    offered = verb.offer(name, out, files or ())
    say(offered.text)
    if not accept_licence and not (sys.stdin.isatty() and typer.confirm("Accept the licence?")):
        raise UsageError("Nothing was fetched: read the licence, then give --accept-licence.")
    for path in verb.main(offered):
        say(f"{path}")
    say(offered.public.then)


@app.command(epilog="Example: `covidssl audit labels.csv --out audits/ours --cache cache`")
def audit(
    dataset: Annotated[
        Path, typer.Argument(help="Two class folders, or a CSV path,label[,patient][,split].")
    ],
    out: Out,
    config: Config = None,
    splits: Annotated[
        Path | None, typer.Option(help="A split file to look at as well, such as splits.csv.")
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="Weights (a run or a file) for a further order test.")
    ] = None,
    cache: Cache = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Find out what a labelled dataset gives away before anything is trained on it.

    Looks for scans that are there twice, for patients in file order, and for shortcuts by which
    models that know nothing of disease tell the class. Writes `audit.html`, `audit.json`,
    `dropped.csv`, and files of splits that do not leak.
    """
    from covidssl.commands import audit as verb
    from covidssl.config import load_config
    from covidssl.experiments import AuditConfig

    settings = load_config(AuditConfig, config, overrides or ())
    beside = verb.Beside(cache, splits, encoder)
    say(f"{verb.main(settings, dataset, out, if_exists(resume, overwrite), beside)}")
