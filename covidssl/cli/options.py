"""Options and arguments that several verbs have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from covidssl.errors import UsageError

if TYPE_CHECKING:
    from covidssl.training import Machines

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
MOST_SLICES = 32


class Devices(StrEnum):
    """Where a network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Strategies(StrEnum):
    """How several processes train one network."""

    AUTO = "auto"
    DDP = "ddp"
    FSDP = "fsdp"


class Precisions(StrEnum):
    """Numbers that a network computes with; `training.Precision` has the same."""

    FULL = "32-true"
    BRAIN = "bf16-mixed"
    HALF = "16-mixed"


class Engines(StrEnum):
    """Where scans are prepared."""

    LOCAL = "local"
    RAY = "ray"


class Backends(StrEnum):
    """What runs a network that is only asked; `prediction.AnswerPlan` has the same."""

    TORCH = "torch"
    ONNX = "onnx"


Device = Annotated[Devices, typer.Option(help="Where the network runs.")]
Init = Annotated[
    Path | None,
    typer.Option(help="Start from these weights (a run or a file). Not a resume: a new run."),
]
Cache = Annotated[
    Path | None, typer.Option(help="Folder for cut frames, so that several runs cut them once.")
]
ProbeData = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV_OR_FOLDER",
        help="Labelled scans to probe the encoder on as it learns; never those it is tested on.",
    ),
]
Inputs = Annotated[
    list[Path],
    typer.Argument(help="Files and folders: DICOM, NIfTI, MHD/NRRD, PNG/JPG/TIFF, zips; nested."),
]

ScanInputs = Annotated[
    list[Path],
    typer.Argument(
        help="Files, folders, zips: DICOM, NIfTI, MHD/NRRD, PNG/JPG/TIFF; CSV lists path[,name]."
    ),
]

HashPaths = Annotated[
    bool,
    typer.Option(
        "--hash-paths", help="Call scans by pseudonyms of their paths: no name of a file is shown."
    ),
]
KeepIds = Annotated[
    bool,
    typer.Option("--keep-ids", help="Write the headers' own patient and series identifiers."),
]
IdsKey = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Key of the pseudonyms, made where there is none; the same key, the same pseudonyms.",
    ),
]
DeviceCount = Annotated[
    str,
    typer.Option(
        "--devices",
        metavar="N|auto",
        help="Processes on each machine, one a device; auto: every CUDA device.",
    ),
]
Nodes = Annotated[int, typer.Option(min=1, help="Machines that train together.")]
Strategy = Annotated[
    Strategies, typer.Option(help="How processes share a network; auto: ddp where there are more.")
]
Precision = Annotated[
    Precisions | None, typer.Option(help="Numbers to compute with, before training.precision.")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Say what the run would take, by a few of its steps; write nothing."
    ),
]
BatchSize = Annotated[
    str | None,
    typer.Option(
        "--batch-size",
        metavar="N|auto",
        help="Pictures a step, before training.batch_size; auto: as many as there is memory for.",
    ),
]
AllowUnfinished = Annotated[
    bool,
    typer.Option("--allow-unfinished", help="Take what is whole of an unfinished store."),
]


AUTO = "auto"


def with_batch_size(overrides: list[str] | None, given: str | None) -> list[str]:
    """The overrides of a configuration, and the batch that was given as a number."""
    kept = list(overrides or ())
    if given is None or given == AUTO:
        return kept
    if not (given.isascii() and given.isdigit() and int(given) > 0):
        raise UsageError(f"--batch-size {given}: expected a whole number from 1 on, or auto.")
    return [*kept, f"training.batch_size={given}"]


def with_precision(overrides: list[str] | None, given: Precisions | None) -> list[str]:
    """The overrides of a configuration, and the precision that was given."""
    return [*(overrides or ()), *([f"training.precision={given.value}"] if given else ())]


def machines(device: Devices, devices: str, nodes: int, strategy: Strategies) -> Machines:
    """What to train on, from the options."""
    from covidssl.training import Machines  # `--help` must not wait for PyTorch

    if devices == AUTO:
        return Machines(device.value, "auto", nodes, strategy.value)
    if not (devices.isascii() and devices.isdigit() and int(devices) > 0):
        raise UsageError(f"--devices {devices}: expected a whole number from 1 on, or auto.")
    return Machines(device.value, int(devices), nodes, strategy.value)


def if_exists(resume: bool, overwrite: bool) -> Literal["refuse", "resume", "overwrite"]:
    """What to do with a run in --out, from the two flags."""
    if resume and overwrite:
        raise UsageError("--resume goes on with a run, --overwrite deletes it: give one of them.")
    return "resume" if resume else "overwrite" if overwrite else "refuse"
