"""How a dataset is split, and what a scan's place in a split is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from covidssl.datasets import LabelledScan

Kind = Literal["given", "patient", "grouped", "blocked", "random"]


class SplitPlan(BaseModel):
    """How a dataset is split.

    Attributes:
        kind: `given` by the dataset's own column; by `patient`; `grouped`, near duplicates (and the
            scans of a patient, where known) on one side; `blocked`, contiguous ranges of the
            natural file order of each class, for sets without patient ids whose file order follows
            the patients; `random`, which lets a patient's slices stand on both sides. `auto` is
            `given` or `patient` where the dataset has such a column, and else refuses to choose.
        test: share of patients (or groups, or scans) for testing.
        validation: share of patients (or groups, or scans) for validation.
        blocks: number of contiguous ranges of each class.
        test_blocks: which of them test.
        validation_blocks: which of them validate.
        gap: scans left out at each border between two splits, on the side that is not the test's;
            half a block of the smaller class at most.
        set_aside: whether a scan that has a near duplicate in a split that matters more (test, then
            validation) is left out. None: in splits by patient or by blocks, which are meant to be
            apart, and in no other, since it would only hide that such a split leaks.
        run_length: consecutive files that stand for one patient when intervals are computed and,
            in blocks, when a fraction of the labels is drawn.
        label_fraction: share of the labels that may be used, in whole patients (or runs).
        label_draw: which draw of that fraction.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["auto", "given", "patient", "grouped", "blocked", "random"] = "auto"
    test: float = Field(0.2, gt=0, lt=1)
    validation: float = Field(0.15, gt=0, lt=1)
    blocks: int = Field(10, ge=3)
    test_blocks: tuple[int, ...] = (2, 5, 8)
    validation_blocks: tuple[int, ...] = (0,)
    gap: int = Field(30, ge=0)
    set_aside: bool | None = None
    run_length: int = Field(20, ge=1)
    label_fraction: float = Field(1.0, gt=0, le=1)
    label_draw: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _blocks_are_there(self) -> Self:
        chosen = Counter((*self.test_blocks, *self.validation_blocks))
        wrong = [block for block, n in chosen.items() if n > 1 or not 0 <= block < self.blocks]
        if wrong and self.kind == "blocked":
            raise ValueError(
                f"test_blocks and validation_blocks name block {wrong[0]} twice, or there is none: "
                f"blocks are numbered 0 to {self.blocks - 1}"
            )
        return self


@dataclass(frozen=True)
class Assigned:
    """One scan with its place: `split` is train, validation, test, gap or unused.

    `gap` is left out so that nothing learnt from is next to a test scan, or looks like it; `unused`
    since only a fraction of the labels is used, and `was` is then the split that it was drawn out
    of; it is written into no file.
    """

    scan: LabelledScan
    group: str
    split: str
    was: str | None = field(default=None, compare=False)


def run_name(positive: bool, run: int) -> str:
    """Name of a run of neighbouring files, the group of scans without a patient in blocks."""
    return f"{'positive' if positive else 'negative'}-{run:04d}"


def group_kind(assigned: Sequence[Assigned]) -> str:
    """What is resampled whole when an interval is computed, in words."""
    known = [one for one in assigned if one.scan.patient]
    unknown = [one for one in assigned if not one.scan.patient]
    kinds = []
    if known:
        joined = any(one.group != one.scan.patient for one in known)
        kinds.append("patient, or what near duplicates join" if joined else "patient")
    if any(
        one.group.startswith(("positive-", "negative-")) and one.group != one.scan.name
        for one in unknown
    ):
        kinds.append("run of neighbouring files")
    elif any(one.group != one.scan.name for one in unknown):
        kinds.append("group of scans that belong together, such as near duplicates")
    elif unknown:
        kinds.append("scan")
    if len(kinds) > 1:
        return f"{kinds[0]} where known, else a {kinds[1]}"
    lacking = unknown and kinds[0] != "scan"
    return f"{kinds[0]} (no patient ids)" if lacking else kinds[0]
