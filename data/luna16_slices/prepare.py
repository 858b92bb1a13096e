"""LUNA16 slices: check the download, and say how to make a store of it.

python -m data.luna16_slices.prepare SOURCE --out STORE
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from data.counts import check_counts, pictures, run

EXPECTED = {"slices": 1000, "series": 500}


def main(
    source: Annotated[Path, typer.Argument(help="Folder of the PNG slices.")],
    out: Annotated[Path, typer.Option(help="Store that the printed command will write.")],
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Go on when the counts differ.")
    ] = False,
) -> None:
    """Count slices and series, then print the `covidssl prepare` command. Writes nothing."""
    names = pictures(source)
    series = {name.rpartition(".mhd_")[0] or name for name in names}
    check_counts({"slices": len(names), "series": len(series)}, EXPECTED, allow_partial)
    typer.echo(shlex.join(["covidssl", "prepare", str(source), "--out", str(out)]))


if __name__ == "__main__":
    run(main)
