"""The paper's comparison, from raw sets to its table: stages that are skipped once they are done.

    python -m pipelines.reproduce_paper --data ../shared/data --runs RUNS --dry-run
    python -m pipelines.reproduce_paper --data ../shared/data --runs RUNS

Stopped and started again, it goes on where it was. Several processes may work at once, each on
stages of its own. docs/reproduction.md says what every number means; `pipelines.reproduce_gpu` asks
the same of a larger network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.study.command import Data, DryRun, Only, Records, Runs, carry_out
from pipelines.study.documents import Block
from pipelines.study.paper import Bench
from pipelines.study.paper_stages import stages_of
from pipelines.study.paper_tables import paper_blocks

PAGES = Path(__file__).resolve().parents[1] / "docs"


def main(  # noqa: PLR0913 -- the options of a command
    data: Data,
    runs: Runs,
    records: Records = PAGES / "records",
    imagenet: Annotated[Path | None, typer.Option(help="ImageNet weights (torchvision).")] = None,
    only: Only = None,
    dry_run: DryRun = False,
    stop_after: Annotated[float | None, typer.Option(help="Minutes.")] = None,
) -> None:
    """Run what is left of the reproduction."""
    bench = Bench(data, runs, records, imagenet=imagenet, reads_sets=not dry_run)
    carry_out(stages_of(bench, PAGES), runs, only or [], dry_run, stop_after)


def blocks() -> tuple[Block, ...]:
    """What docs/reproduction.md has from the records."""
    return paper_blocks()


if __name__ == "__main__":
    typer.run(main)
