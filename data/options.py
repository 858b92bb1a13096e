"""Arguments and options that every `prepare.py` has, defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[Path, typer.Argument(help="The download, unpacked; it is only read.")]
Out = Annotated[Path, typer.Option(help="Folder for labels.csv, outside of SOURCE.")]
Store = Annotated[Path, typer.Option(help="Store that the printed command will write.")]
AllowPartial = Annotated[
    bool, typer.Option("--allow-partial", help="Go on when the counts differ; they are printed.")
]
PerPatient = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Take at most N slices of a patient, spread evenly; else all."
    ),
]
