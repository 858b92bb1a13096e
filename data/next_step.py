"""The command that comes after the counting of a set without labels."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import typer


def print_prepare(inputs: Sequence[Path], store: Path) -> None:
    """Print the `covidssl prepare` command, quoted for the shell."""
    typer.echo(shlex.join(["covidssl", "prepare", *map(str, inputs), "--out", str(store)]))
