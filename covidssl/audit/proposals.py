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
    blocks_for,
    propose,
    settle,
    write_split_files,
)

log = logging.getLogger(__name__)

_NO_PATIENTS = "duplicates only; patients unknown, so slices of one may stand on both sides"


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
        order: of the files, that which reaches farthest; None where there are too few scans to
            judge any.
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
            found.append(Proposal(plan.kind, assigned, _honest(notes, dataset)))
    return found


def write_proposals(folder: Path, proposed: Sequence[Proposal], dataset: Dataset) -> None:
    """Write `splits-KIND.csv` and `splits-KIND.json` of each."""
    for one in proposed:
        write_split_files(folder / f"splits-{one.kind}.csv", one.assigned, dataset, one.notes)


def _plans(dataset: Dataset, order: OrderEffect | None) -> list[SplitPlan]:
    plans = []
    if all(scan.split for scan in dataset.scans):
        plans.append(SplitPlan(kind="given"))
    known = all(scan.patient for scan in dataset.scans)
    carries = order is not None and order.carries_patients
    if known:
        plans.append(SplitPlan(kind="patient"))
    elif order is not None and carries:
        plans.append(blocks_for(dataset, order))
    if known or not carries:
        plans.append(SplitPlan(kind="grouped"))
    return plans


def _honest(notes: SplitNotes, dataset: Dataset) -> SplitNotes:
    """The notes, that say what a split by near duplicates cannot know."""
    without = sum(not scan.patient for scan in dataset.scans)
    if notes.kind != "grouped" or not without:
        return notes
    words = _NO_PATIENTS
    if without < len(dataset.scans):
        words += f" ({without} scans without a patient)"
    return notes.model_copy(update={"reason": f"{words}; {notes.reason}"})
