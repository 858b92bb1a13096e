"""The sets that a suite is run on: the model's own test split, and others that are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from covidssl.datasets import Dataset, LabelledScan, read_dataset
from covidssl.errors import UsageError
from covidssl.evaluation import Evaluation
from covidssl.evaluation.assigned import ALL, all_of, assigned_scans, external_dataset, grouped
from covidssl.evaluation.external import External
from covidssl.model import Model
from covidssl.robustness.plan import RobustnessConfig
from covidssl.robustness.suite import Tried
from covidssl.splits import LEARNT_FROM, Assigned, Prints, of_nobody_known, overlap


class SuiteSet(NamedTuple):
    """Scans of one set.

    Attributes:
        name: as it was given; `internal` for the data that the model was trained on.
        dataset: all of it.
        assigned: every scan of it with its split.
        split: that is tried, or some of it.
        scans: that are tried.
    """

    name: str
    dataset: Dataset
    assigned: tuple[Assigned, ...]
    split: str
    scans: tuple[LabelledScan, ...]

    @property
    def of(self) -> int:
        """How many scans there were to choose from."""
        return sum(one.split == self.split for one in self.assigned)

    @property
    def beside(self) -> list[LabelledScan]:
        """Scans that are not tried, but tell whether the order of files carries patients."""
        if not of_nobody_known(self.assigned):
            return []
        tried = {scan.name for scan in self.scans}
        of_split = (one.scan for one in self.assigned if one.split == self.split)
        return [scan for scan in of_split if scan.name not in tried]


INTERNAL = "internal"


def tested_sets(
    config: RobustnessConfig,
    run_folder: Path,
    model: Model,
    data: Path,
    externals: Sequence[External],
) -> list[SuiteSet]:
    """The internal set first, then the external ones in their order; no picture is opened yet.

    Raises:
        UsageError: for a path, a split or a name that cannot be.
        DataError: for tables that cannot be used, and splits that are not the model's own.
    """
    if any(one.name.casefold() == INTERNAL for one in externals):
        raise UsageError(f"--external {INTERNAL}: the model's own data are called so.")
    dataset = read_dataset(data, model.card.classes[1])
    assigned = assigned_scans(config.split, run_folder, dataset, model.card.splits)
    found = [_thinned(INTERNAL, dataset, assigned, config.split, config.most_scans)]
    for one in externals:
        other = external_dataset(one, model)
        found.append(_thinned(one.name, other, all_of(other), ALL, config.most_scans))
    return found


def as_evaluation(
    model: Model, tested: SuiteSet, tried: Tried, prints: Prints, config: RobustnessConfig
) -> Evaluation:
    """The scans that could be read with their clean logits, in the groups of an evaluation.

    What each scan is (`OneScan.facts`) stands beside the columns of its table that are asked for.

    Args:
        model: that gave the logits.
        tested: the set.
        tried: what was found of it.
        prints: of the whole split, see `SuiteSet.beside`.
        config: of the suite.
    """
    in_groups = grouped(tested.assigned, tested.split, prints, config.run_length)
    by_name = {one.scan.name: one for one in in_groups}
    scans = tuple(
        replace(
            by_name[scan.name], scan=replace(scan, columns=_columns(scan, found.facts, config.by))
        )
        for scan, found in zip(tried.scans, tried.found, strict=True)
    )
    logit = tried.logit[0]
    return Evaluation(
        scans=scans,
        target=np.array([int(scan.positive) for scan in tried.scans], dtype=np.int64),
        logit=logit,
        probability=model.card.calibration.probability(logit),
        rival=None,
        threshold=model.card.operating_point,
        classes=model.card.classes,
        name="" if tested.name == INTERNAL else tested.name,
    )


def learnt_among(model: Model, tested: SuiteSet, tried: Tried) -> str:
    """Which scans were learnt from, in words; empty for none, or where it cannot be known."""
    if model.learnt is None or tested.split in LEARNT_FROM:
        return ""
    found = overlap(model.learnt, tried.prints, (scan.name for scan in tried.scans))
    return f"{tested.name}: {found}" if found.names else ""


def _columns(scan: LabelledScan, facts: Mapping[str, str], asked: Sequence[str]) -> dict[str, str]:
    return {name: scan.columns[name] for name in asked if name in scan.columns} | dict(facts)


def _thinned(
    name: str, dataset: Dataset, assigned: Sequence[Assigned], split: str, most: int | None
) -> SuiteSet:
    """At most so many scans, each class by its share, evenly over the files."""
    chosen = [one.scan for one in assigned if one.split == split]
    if most is not None and len(chosen) > most:
        kept: set[int] = set()
        for positive in (False, True):
            places = [k for k, scan in enumerate(chosen) if scan.positive == positive]
            count = min(len(places), max(1, round(most * len(places) / len(chosen))))
            kept |= {places[int(row)] for row in np.linspace(0, len(places) - 1, count).round()}
        chosen = [chosen[k] for k in sorted(kept)]
    return SuiteSet(name, dataset, tuple(assigned), split, tuple(chosen))
