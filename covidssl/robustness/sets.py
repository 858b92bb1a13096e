"""The sets that a suite is run on: the model's own test split, and others that are named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.datasets import Dataset, LabelledScan, read_dataset
from covidssl.errors import DataError, UsageError
from covidssl.evaluation import Evaluation
from covidssl.evaluation.cautions import splits_file
from covidssl.evaluation.external import External
from covidssl.model import Model
from covidssl.robustness.plan import RobustnessConfig
from covidssl.robustness.suite import Tried
from covidssl.splits import LEARNT_FROM, Assigned, in_runs, overlap, read_splits, splits_fingerprint


class SuiteSet(NamedTuple):
    """Scans of one set.

    Attributes:
        name: as it was given; `internal` for the data that the model was trained on.
        dataset: all of it.
        assigned: the scans that are tried.
        of: how many there were to choose from.
    """

    name: str
    dataset: Dataset
    assigned: tuple[Assigned, ...]
    of: int

    @property
    def scans(self) -> list[LabelledScan]:
        """What is read."""
        return [one.scan for one in self.assigned]


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
    positive = model.card.classes[1]
    dataset = read_dataset(data, positive)
    assigned = _split(config, run_folder, dataset, model.card.splits)
    found = [_thinned(INTERNAL, dataset, assigned, config.most_scans)]
    for one in externals:
        other = read_dataset(one.path, positive)
        found.append(_thinned(one.name, other, _all(other), config.most_scans))
    return found


def as_evaluation(
    model: Model, tested: SuiteSet, tried: Tried, logit: NDArray[np.float64], run_length: int
) -> Evaluation:
    """The scans that could be read with logits (S,) of theirs, as an evaluation has them.

    Neighbouring files stand for patients where nobody is known and file order carries patients.
    What each scan is (`OneScan.facts`) stands beside the columns of its table.
    """
    grouped = {one.scan.name: one for one in in_runs(tested.assigned, tried.prints, run_length)}
    scans = tuple(
        replace(grouped[scan.name], scan=replace(scan, columns={**found.facts, **scan.columns}))
        for scan, found in zip(tried.scans, tried.found, strict=True)
    )
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
    (split,) = {one.split for one in tested.assigned}
    if model.learnt is None or split in LEARNT_FROM:
        return ""
    found = overlap(model.learnt, tried.prints, (scan.name for scan in tried.scans))
    return f"{tested.name}: {found}" if found.names else ""


def _split(
    config: RobustnessConfig, run_folder: Path, dataset: Dataset, fingerprint: str
) -> list[Assigned]:
    if config.split == "all":
        return _all(dataset)
    file = splits_file(run_folder)
    if file is None:
        raise UsageError(
            f"{run_folder}: has no splits.csv. Give the fine-tuning run, or --split all for data "
            f"that it has not learnt from."
        )
    assigned = read_splits(file, dataset)
    if fingerprint and fingerprint != splits_fingerprint(assigned):
        raise DataError(
            f"{file}: is not the split that the model was trained on, so that its '{config.split}' "
            f"may have been learnt from. Give the run's own splits.csv back, or train again."
        )
    wanted = [one for one in assigned if one.split == config.split]
    if not wanted:
        found = ", ".join(sorted({one.split for one in assigned}))
        raise UsageError(f"{file}: no split '{config.split}'; found {found}.")
    return wanted


def _all(dataset: Dataset) -> list[Assigned]:
    return [Assigned(scan, scan.patient or scan.name, "all") for scan in dataset.scans]


def _thinned(
    name: str, dataset: Dataset, assigned: Sequence[Assigned], most: int | None
) -> SuiteSet:
    """At most so many scans, each class by its share, evenly over the files."""
    chosen = list(assigned)
    if most is not None and len(assigned) > most:
        kept: set[int] = set()
        for positive in (False, True):
            places = [k for k, one in enumerate(assigned) if one.scan.positive == positive]
            count = min(len(places), max(1, round(most * len(places) / len(assigned))))
            kept |= {places[int(row)] for row in np.linspace(0, len(places) - 1, count).round()}
        chosen = [assigned[k] for k in sorted(kept)]
    return SuiteSet(name, dataset, tuple(chosen), len(assigned))
