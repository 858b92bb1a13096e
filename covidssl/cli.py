"""The `covidssl` command: a verb a stage."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from covidssl.errors import CovidsslError, DataError, ScanError, UsageError, WeightsError
from covidssl.version import __version__

# The verbs are imported where they are called: `--help` must not wait for PyTorch.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Learn from unlabelled lung CT by repairing Perlin pseudo-lesions, then tell COVID-19 "
    "with few labels (arXiv:2106.12313). Research use only; not a medical device.\n\n"
    "A journey: `prepare`, `preview`, `pretrain`, `finetune`, `evaluate`, `predict`, `report`.",
)

Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Delete the run in --out and start again.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a configuration key; repeatable."),
]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="YAML; without one, the defaults hold.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write; must be new.")]


# `experiments.MOST_SLICES`, which `--help` cannot wait for; a test holds the two together.
_MOST_SLICES = 32


class Devices(StrEnum):
    """Where a network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Device = Annotated[Devices, typer.Option(help="Where the network runs.")]
Init = Annotated[
    Path | None,
    typer.Option(help="Start from these weights (a run or a file). Not a resume: a new run."),
]
Cache = Annotated[
    Path | None, typer.Option(help="Folder for cut frames, so that several runs cut them once.")
]
Inputs = Annotated[
    list[Path],
    typer.Argument(help="Files and folders: DICOM, NIfTI, MHD/NRRD, PNG/JPG; nested."),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"covidssl {__version__}")
        raise typer.Exit


@app.callback()
def _begin(
    version: Annotated[  # noqa: ARG001 (its callback has done the work)
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    handler = RichHandler(
        console=Console(stderr=True), show_path=False, show_level=False, markup=False,
        log_time_format="%H:%M:%S",
    )  # fmt: skip
    logger = logging.getLogger("covidssl")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)


@app.command(epilog="Example: `covidssl prepare scans/ more.nii.gz --out stores/ours`")
def prepare(
    inputs: Inputs,
    out: Out,
    config: Config = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Read CT of any kind, find lungs, and write a store to learn from.

    One row a scan goes to `manifest.csv`, with its verdict in plain words; a scan that cannot be
    read never stops the others.
    """
    from covidssl.commands import prepare as verb
    from covidssl.config import load_config
    from covidssl.experiments import PrepareConfig

    settings = load_config(PrepareConfig, config, overrides or ())
    counts = verb.main(settings, inputs, out, _if_exists(resume, overwrite))
    _say(f"{out}: " + ", ".join(f"{count} {status}" for status, count in counts.items()))


@app.command(epilog="Example: `covidssl preview stores/ours --out previews/ours`")
def preview(
    store: Annotated[Path, typer.Argument(help="A prepared store.")],
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
            max=_MOST_SLICES,
            help="Draw in 3D through this many neighbouring slices of a scan.",
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(help="Render these draws again: a draws.json, or params_to_json's text."),
    ] = None,
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
    _say(f"{verb.main(settings, store, out, _if_exists(resume, overwrite), replay)}")


@app.command(
    epilog="Example: `covidssl pretrain -c configs/demo/pretrain.yaml --data stores/ours "
    "--out runs/pretrain`"
)
def pretrain(
    data: Annotated[Path, typer.Option(help="A prepared store.")],
    out: Out,
    config: Config = None,
    init: Init = None,
    device: Device = Devices.AUTO,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Teach a U-Net to restore clean slices from ones with pseudo-lesions.

    Writes `restoration.safetensors` and `encoder.safetensors`, a card beside each, and pictures
    corrupted / restored / clean as it learns.
    """
    from covidssl.commands import pretrain as verb
    from covidssl.config import load_config
    from covidssl.experiments import PretrainConfig

    settings = load_config(PretrainConfig, config, overrides or ())
    _say(f"{verb.main(settings, data, out, _if_exists(resume, overwrite), init, device)}")


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
    cache: Cache = None,
    device: Device = Devices.AUTO,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune an encoder on labelled images or scans.

    Writes the model folder `model/` and the splits; weights, calibration and operating point are
    chosen on validation, never on test.
    """
    from covidssl.commands import finetune as verb
    from covidssl.config import load_config
    from covidssl.experiments import FinetuneConfig

    settings = load_config(FinetuneConfig, config, overrides or ())
    start = None if encoder == "none" else Path(encoder)
    places = verb.Places(out, start, init, cache, device)
    _say(f"{verb.main(settings, data, places, _if_exists(resume, overwrite)) / 'model'}")


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
    _say(f"{verb.main(settings, run, data, out, _if_exists(resume, overwrite), cache)}")


@app.command(epilog="Example: `covidssl predict runs/finetune clinic/ --out predictions`")
def predict(
    model: Annotated[Path, typer.Argument(help="A fine-tuning run, or its model folder.")],
    inputs: Inputs,
    out: Out,
    device: Device = Devices.AUTO,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """A probability with its evidence for every scan found.

    Exit code 0: all scans were read; 1: some failed, each with its reason in `predictions.csv`;
    2: wrong usage.
    """
    from covidssl.commands import predict as verb
    from covidssl.config import load_config
    from covidssl.experiments import PredictConfig

    settings = load_config(PredictConfig, None, overrides or ())
    failed = verb.main(settings, model, inputs, out, _if_exists(resume, overwrite), device)
    _say(f"{out / 'predictions.csv'}" + (f" ({failed} scans failed)" if failed else ""))
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

    _say(f"{verb.main(runs, out, overwrite)}")


@app.command(epilog="Example: `covidssl doctor`")
def doctor() -> None:
    """Versions, devices, memory; what optional parts are missing and how to get them."""
    from covidssl.commands import doctor as verb

    table = Table("what", "found", "to do", box=None, pad_edge=False)
    for row in verb.main():
        table.add_row(*row)
    Console().print(table)


def _if_exists(resume: bool, overwrite: bool) -> Literal["refuse", "resume", "overwrite"]:
    if resume and overwrite:
        raise UsageError("--resume goes on with a run, --overwrite deletes it: give one of them.")
    return "resume" if resume else "overwrite" if overwrite else "refuse"


def _say(text: str) -> None:
    # Plain, so that a path is printed whole and can be piped.
    typer.echo(text)


def main() -> NoReturn:
    """Run the command; refusals become one message and an exit code, without a traceback."""
    try:
        app(standalone_mode=True)
    except CovidsslError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"Error: {error}", style="red", markup=False, highlight=False
        )
        # Predict keeps 1 for "some scans failed": whatever was given wrongly is a 2.
        wrong = isinstance(error, (UsageError, DataError, WeightsError, ScanError))
        sys.exit(2 if wrong else 1)
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped. Go on with --resume.", markup=False)
        sys.exit(130)
    sys.exit(0)


if __name__ == "__main__":
    main()
