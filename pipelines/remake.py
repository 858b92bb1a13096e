"""Make every table of the docs anew from the records that are committed beside them.

python -m pipelines.remake            writes the pages that change
python -m pipelines.remake --check    writes nothing, and fails on a differing digit
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from covidssl.errors import DataError
from pipelines.study.documents import Block, differing, remake_pages, stray_marks

STUDIES = (
    "reproduce_paper",
    "label_efficiency",
    "scaling",
    "cross_site",
    "localise",
    "ablate",
    "shortcuts",
)
"""Modules of `pipelines`, each with `blocks() -> tuple[Block, ...]`."""

DOCS = Path(__file__).resolve().parents[1] / "docs"


def all_blocks() -> tuple[Block, ...]:
    """The blocks of every study."""
    modules = [import_module(f"pipelines.{study}") for study in STUDIES]
    return tuple(block for module in modules for block in module.blocks())


def main(
    check: Annotated[bool, typer.Option(help="Compare only; fail where a line differs.")] = False,
    docs: Annotated[Path, typer.Option(help="Folder of the pages.")] = DOCS,
    records: Annotated[Path | None, typer.Option(help="Default: records, below docs.")] = None,
) -> None:
    """Remake the tables, or check that they are what the records give."""
    folder = docs / "records" if records is None else records
    try:
        said, wrong = _checked(docs, folder) if check else _written(docs, folder)
    except DataError as error:
        said, wrong = [str(error)], True
    for line in said:
        typer.echo(line, err=wrong)
    raise typer.Exit(int(wrong))


def _checked(docs: Path, records: Path) -> tuple[list[str], bool]:
    blocks = all_blocks()
    said = [one.words for one in differing(docs, blocks, records)]
    said += [f"{mark}: nothing makes this block." for mark in stray_marks(docs, blocks)]
    if said:
        return [*said, "Run `python -m pipelines.remake`, and look at what changes."], True
    return [f"{len(blocks)} blocks of the docs are what their records give."], False


def _written(docs: Path, records: Path) -> tuple[list[str], bool]:
    blocks = all_blocks()
    stray = [f"{mark}: nothing makes this block." for mark in stray_marks(docs, blocks)]
    if stray:
        return stray, True
    changed = remake_pages(docs, blocks, records)
    return [f"{file}: written" for file in changed] or ["Nothing changed."], False


if __name__ == "__main__":
    typer.run(main)
