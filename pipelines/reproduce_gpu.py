"""The paper's comparison with a larger network, on a GPU.

    python -m pipelines.reproduce_gpu all --data ../shared/data --runs RUNS

does everything on one machine that has the raw data and a GPU. For a GPU that is borrowed, and that
holds no raw data, its parts are commands of their own: `pack` and `gather` where the data is, and
`piece` on the GPU.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import torch
import typer

from covidssl.errors import UsageError
from pipelines.study.command import Data, Records, Runs, at_work
from pipelines.study.documents import remake_pages
from pipelines.study.gpu_gather import gather as gather_records
from pipelines.study.gpu_pieces import piece_left, run_piece
from pipelines.study.gpu_plan import pack_for_gpu, pack_left, plan_of
from pipelines.study.paper import Bench
from pipelines.study.paper_stages import stages_of
from pipelines.study.paper_tables import page_blocks
from pipelines.study.pretraining import CONFIGS
from pipelines.study.stages import run_stages

log = logging.getLogger(__name__)

PAGES = Path(__file__).resolve().parents[1] / "docs"
APP = typer.Typer(add_completion=False, help="The comparison with a larger network, on a GPU.")

PackFolder = Annotated[Path, typer.Option("--pack", help="Folder of packed data.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of what pieces give.")]
Device = Annotated[str, typer.Option(help="Where networks run: auto, cpu or cuda.")]
StopAfter = Annotated[float | None, typer.Option(help="Minutes.")]


@APP.command("pack")
def pack_command(
    data: Data, runs: Runs, pack: PackFolder, records: Records = PAGES / "records"
) -> None:
    """Where the data is: cut all frames once, in parts of less than 60 MiB, and list the pieces."""
    with at_work():
        make_pack(Bench(data, runs, records), pack)


@APP.command("piece")
def piece_command(
    number: Annotated[int, typer.Argument(help="Of the piece, from 0 on.")],
    pack: PackFolder,
    out: Out,
    device: Device = "auto",
    stop_after: StopAfter = None,
) -> None:
    """On the GPU: run one piece, or what is left of it."""
    with at_work(stop_after):
        must_have(device)
        run_piece(CONFIGS, number, pack, out, device)


@APP.command("gather")
def gather_command(data: Data, runs: Runs, out: Out, records: Records = PAGES / "records") -> None:
    """Where the data is: make records of what pieces brought back."""
    with at_work():
        gather_records(Bench(data, runs, records).targets, records, out)


@APP.command("all")
def all_command(  # noqa: PLR0913 -- the options of a command
    data: Data,
    runs: Runs,
    records: Records = PAGES / "records",
    device: Device = "cuda",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is left.")] = False,
    stop_after: StopAfter = None,
) -> None:
    """Pack, run all pieces one after the other, gather, and remake the page; goes on after a stop.

    Packed data and what pieces give lie in RUNS/gpu.
    """
    bench = Bench(data, runs, records, reads_sets=not dry_run)
    with at_work(stop_after):
        if dry_run:
            typer.echo(left_of_all(bench))
            return
        must_have(device)
        lacking = run_all(bench, PAGES, device)
        if lacking:
            raise UsageError(f"Not all answers are there ({'; '.join(lacking)}). Run it again.")


def must_have(device: str) -> None:
    """Refuse a device that is not here.

    Raises:
        UsageError: naming what is needed, and what can be done without it.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(
            f"--device {device}: no CUDA device is here. Needed are an NVIDIA GPU, its driver and "
            f"a PyTorch with CUDA (this one is {torch.__version__}). On a CPU the comparison runs "
            f"with a small network: make reproduce SCALE=cpu DATA=... RUNS=... For a GPU elsewhere "
            f"see docs/reproduction.md, 'On a GPU': pack here, run pieces there, gather here."
        )


def make_pack(bench: Bench, pack: Path) -> int:
    """Pack what is not packed yet, prepared first where it is not; gives the number of pieces."""
    run_stages(stages_of(bench, PAGES), bench.runs / "locks", ["store"])
    return len(pack_for_gpu(bench, pack).pieces)


def run_all(bench: Bench, pages: Path, device: str) -> list[str]:
    """Do what is left of everything; gives the arms and sets that are not whole."""
    pack, out = places(bench)
    for number in range(make_pack(bench, pack)):
        run_piece(bench.configs, number, pack, out, device)
    lacking = gather_records(bench.targets, bench.records, out)
    for file in remake_pages(pages, page_blocks(), bench.records):
        log.info("%s: written", file)
    return lacking


def left_of_all(bench: Bench) -> str:
    """What is done and what is left of everything, as text."""
    pack, out = places(bench)
    plan = plan_of(bench)
    steps = [(pack_left(pack, plan), f"pack into {pack}")]
    for number, piece in enumerate(plan.pieces):
        steps.append((piece_left(bench.configs, piece, out), f"piece {number}: {piece.words}"))
    states = [(f"to do: {left}" if left else "done", what) for left, what in steps]
    width = max(len(state) for state, _ in states)
    lines = [f"{state.ljust(width)}  {what}" for state, what in states]
    here = "is here" if torch.cuda.is_available() else "is not here: it would be refused"
    return "\n".join(
        [*lines, f"Then records and tables are made of all answers. A CUDA device {here}."]
    )


def places(bench: Bench) -> tuple[Path, Path]:
    """Folders of packed data and of what pieces give, where all is done on one machine."""
    return bench.runs / "gpu" / "pack", bench.runs / "gpu" / "out"


if __name__ == "__main__":
    APP()
