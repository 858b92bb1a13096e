"""Options and arguments that several verbs have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from covidssl.errors import UsageError

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


class Engines(StrEnum):
    """Where scans are prepared."""

    LOCAL = "local"
    RAY = "ray"


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
    typer.Argument(help="Files and folders: DICOM, NIfTI, MHD/NRRD, PNG/JPG/TIFF, zips; nested."),
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
AllowUnfinished = Annotated[
    bool,
    typer.Option("--allow-unfinished", help="Take what is whole of an unfinished store."),
]


def if_exists(resume: bool, overwrite: bool) -> Literal["refuse", "resume", "overwrite"]:
    """What to do with a run in --out, from the two flags."""
    if resume and overwrite:
        raise UsageError("--resume goes on with a run, --overwrite deletes it: give one of them.")
    return "resume" if resume else "overwrite" if overwrite else "refuse"
