"""The paper's comparison, from raw sets to its table: stages that are skipped once they are done.

    python -m pipelines.reproduce_paper --data ../shared/data --runs RUNS --dry-run
    python -m pipelines.reproduce_paper --data ../shared/data --runs RUNS

Stopped and started again, it goes on where it was. Several processes may work at once, each on
stages of its own. docs/reproduction.md says what every number means.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from rich.console import Console
from rich.logging import RichHandler

from covidssl.errors import CovidsslError, StoppedError, UsageError
from pipelines.study.documents import Block
from pipelines.study.gpu_pieces import gather, pack_for_gpu, run_piece
from pipelines.study.paper import Bench
from pipelines.study.paper_stages import stages_of
from pipelines.study.paper_tables import paper_blocks
from pipelines.study.pretraining import CONFIGS
from pipelines.study.stages import chosen, plan_table, run_stages, stopping_after

PAGES = Path(__file__).resolve().parents[1] / "docs"


def main(  # noqa: PLR0913 -- the options of a command
    runs: Annotated[Path, typer.Option(help="Folder of all runs, outside the checkout.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the sets.")] = None,
    records: Annotated[Path, typer.Option(help="Folder of all records.")] = PAGES / "records",
    scale: Annotated[Literal["cpu", "gpu"], typer.Option(help="cpu or gpu.")] = "cpu",
    imagenet: Annotated[Path | None, typer.Option(help="ImageNet weights (torchvision).")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Stages, such as 'probe-*'.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is left, frames unseen.")] = (
        False
    ),
    stop_after: Annotated[float | None, typer.Option(help="Minutes.")] = None,
    piece: Annotated[int | None, typer.Option(help="gpu: the piece to run.")] = None,
    pack: Annotated[Path | None, typer.Option(help="gpu: folder of packed data.")] = None,
    out: Annotated[Path | None, typer.Option(help="gpu: folder of what a piece gives.")] = None,
    gather_from: Annotated[
        Path | None, typer.Option("--gather", help="gpu: make records of what came back.")
    ] = None,
    device: Annotated[str, typer.Option(help="gpu: where networks run.")] = "auto",
    configs: Annotated[Path, typer.Option(hidden=True)] = CONFIGS,
    pages: Annotated[Path, typer.Option(hidden=True)] = PAGES,
) -> None:
    """Run what is left of the reproduction."""
    bench = Bench(data or Path(), runs, records, configs, imagenet, reads_sets=not dry_run)
    with stopping_after(stop_after):
        if scale == "gpu" and gather_from is not None:
            gather(bench.targets, records, gather_from)
        elif scale == "gpu" and piece is not None:
            run_piece(configs, piece, _given(pack, "--pack"), _given(out, "--out"), device)
        elif scale == "gpu":
            _given(data, "--data")
            pack_for_gpu(bench, _given(pack, "--pack"))
        else:
            _given(data, "--data")
            _on_cpu(bench, only or [], dry_run, pages)


def _on_cpu(bench: Bench, only: list[str], dry_run: bool, pages: Path) -> None:
    torch.set_num_threads(1)  # small pictures: with more threads a convolution mostly waits
    stages = stages_of(bench, pages)
    if dry_run:
        typer.echo(plan_table(chosen(stages, only)))
        return
    run_stages(stages, bench.runs / "locks", only)


def blocks() -> tuple[Block, ...]:
    """What docs/reproduction.md has from the records."""
    return paper_blocks()


def _given(value: Path | None, option: str) -> Path:
    if value is None:
        raise UsageError(f"{option} is needed here; --help says what it is.")
    return value


def _run() -> None:
    handler = RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%H:%M:%S")
    for name in ("covidssl", "pipelines"):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        typer.run(main)
    except StoppedError as stopped:
        typer.echo(str(stopped), err=True)
        raise SystemExit(stopped.code) from stopped
    except CovidsslError as error:
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    _run()
