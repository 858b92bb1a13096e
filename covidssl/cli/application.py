"""The command itself: its help, its log, and how it says what it made."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from covidssl.version import __version__

VERBS = (
    "download", "prepare", "pack", "audit", "preview", "pretrain", "finetune", "evaluate",
    "compare", "robustness", "predict", "report", "view", "export", "import-weights", "doctor",
)  # fmt: skip
"""In the order of the work, as the help lists them."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Learn from unlabelled lung CT by repairing Perlin pseudo-lesions, then tell COVID-19 "
    "with few labels (arXiv:2106.12313). Research use only; not a medical device.\n\n"
    "A journey: `prepare`, `preview`, `pretrain`, `finetune`, `evaluate`, `predict`, `report`.",
)


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


def in_order_of_the_work() -> None:
    """List the verbs, once all are there, as they follow each other."""
    names = {
        one: one.name or getattr(one.callback, "__name__", "") for one in app.registered_commands
    }
    app.registered_commands.sort(key=lambda one: VERBS.index(names[one]))


def say(text: str) -> None:
    """Print one line that can be piped."""
    # Plain, so that a path is printed whole and can be piped.
    typer.echo(text)


def say_aside(text: str) -> None:
    """Print one line for the person alone, past what can be piped."""
    typer.echo(text, err=True)


def say_lines(title: str, lines: Iterable[tuple[str, str]]) -> None:
    """Print what was found of several things: a table in a terminal, plain lines in a pipe."""
    if not sys.stdout.isatty():
        for what, found in lines:
            say(f"{what}: {found}")
        return
    table = Table(title=title, title_justify="left", show_header=False)
    for what, found in lines:
        table.add_row(Text(what), Text(found))  # a name may hold brackets
    Console().print(table)
