"""A checklist filled from run folders, and the items that are left to the authors.

A run knows what was computed, and how. It knows neither patients nor protocols nor aims: such items
are listed for the authors, and so is every item whose run is not among those given.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from covidssl.report.blocks import Block, Cell, Note, Table
from covidssl.report.guidelines import ITEMS
from covidssl.report.run_facts import facts

_FOR_AUTHORS = "no run can know it"
_NO_RUN = "none of the runs on this page tells it"


def checklist(runs: Sequence[tuple[str, Path]]) -> list[Block]:
    """Items that the runs fill, and those for the authors; nothing without an evaluation.

    Args:
        runs: verb and folder of each run.
    """
    if all(verb != "evaluate" for verb, _ in runs):
        return []
    said = facts(runs)
    filled: list[list[Cell]] = []
    left: list[list[Cell]] = []
    for item in ITEMS:
        told = [said[name] for name in item.told_by if name in said]
        named = f"{item.guide}, {item.number}"
        if told:
            filled.append([named, item.asks, "; ".join(told)])
        else:
            left.append([named, item.asks, _NO_RUN if item.told_by else _FOR_AUTHORS])
    return [
        Note(
            f"{len(filled)} of {len(ITEMS)} items of CLAIM 2024 and TRIPOD+AI could be filled from "
            f"the runs on this page; {len(left)} are for the authors. What is filled is what the "
            f"runs say: whether it suffices, the authors judge."
        ),
        Table("Filled from the runs", ("item", "asks for", "the runs say"), filled, folded=True),
        Table("For the authors", ("item", "asks for", "why it is not filled"), left, folded=True),
    ]
