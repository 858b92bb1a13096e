"""The splits that an audit proposes: files that `covidssl finetune --splits` takes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from covidssl.audit.seen import Seen
from covidssl.datasets import Dataset
from covidssl.errors import DataError
from covidssl.file_order import OrderEffect
from covidssl.splits import (
    Assigned,
    SplitNotes,
    SplitPlan,
    propose,
    settle,
    write_split_files,
)

log = logging.getLogger(__name__)

_MOST_BLOCKS, _SPREAD_FROM, _FEW_BLOCKS = 10, 8, 5
_GAPS_A_BLOCK = 4


class Proposal(NamedTuple):
    """A split that does not leak, as far as was looked; the first one is the one to take.

    Attributes:
        kind: of the split.
        assigned: every scan's place.
        notes: why it is so.
    """

    kind: str
    assigned: Sequence[Assigned]
    notes: SplitNotes

    def as_json(self) -> dict[str, Any]:
        """Kind, file, reason and seed, for `audit.json`."""
        return {
            "kind": self.kind,
            "file": f"splits-{self.kind}.csv",
            "reason": self.notes.reason,
            "seed": self.notes.seed,
            "plan": self.notes.plan,
        }


def proposals(dataset: Dataset, seen: Seen, order: OrderEffect | None, seed: int) -> list[Proposal]:
    """Every kind of split that does not leak on this dataset, the safest first.

    Args:
        dataset: the scans.
        seen: what is known of their pictures.
        order: of the files; None where there are too few scans to judge it.
        seed: of what is drawn.
    """
    found = []
    for plan in _plans(dataset, order):
        try:
            assigned, notes = settle(propose(dataset, plan, seed), seen.prints)
        except DataError as error:
            log.info("No split of kind '%s': %s", plan.kind, error)
            continue
        if not notes.leaks:
            found.append(Proposal(plan.kind, assigned, notes))
    return found


def blocks_for(dataset: Dataset, order: OrderEffect) -> SplitPlan:
    """Contiguous blocks that are some gaps long, so that the gaps do not eat them up.

    Where a class is too short for test blocks spread over it, its first fifth validates and its
    last tests: two borders are all that is lost then.
    """
    sizes = [sum(scan.positive == k for scan in dataset.scans) for k in (False, True)]
    blocks = min(min(sizes) // (_GAPS_A_BLOCK * max(order.gap, 1)), _MOST_BLOCKS)
    tests = tuple(range(2, blocks, 3))
    if blocks < _SPREAD_FROM:
        blocks, tests = _FEW_BLOCKS, (_FEW_BLOCKS - 1,)
    # A gap wider than half a block would leave little to learn from.
    gap = min(order.gap, min(sizes) // (2 * blocks))
    return SplitPlan(
        kind="blocked", blocks=blocks, test_blocks=tests, validation_blocks=(0,), gap=gap
    )


def write_proposals(folder: Path, proposed: Sequence[Proposal], dataset: Dataset) -> None:
    """Write `splits-KIND.csv` and `splits-KIND.json` of each."""
    for one in proposed:
        write_split_files(folder / f"splits-{one.kind}.csv", one.assigned, dataset, one.notes)


def _plans(dataset: Dataset, order: OrderEffect | None) -> list[SplitPlan]:
    plans = []
    if all(scan.split for scan in dataset.scans):
        plans.append(SplitPlan(kind="given"))
    if all(scan.patient for scan in dataset.scans):
        plans.append(SplitPlan(kind="patient"))
    elif order is not None and order.carries_patients:
        plans.append(blocks_for(dataset, order))
    plans.append(SplitPlan(kind="grouped"))
    return plans
