"""Which scans of a set are scored, and which of them are resampled together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from covidssl.datasets import Dataset, read_dataset
from covidssl.errors import DataError, UsageError
from covidssl.evaluation.cautions import splits_file
from covidssl.evaluation.external import External
from covidssl.model import Model
from covidssl.splits import Assigned, Prints, in_runs, read_splits, splits_fingerprint

ALL = "all"


def assigned_scans(
    split: str, run_folder: Path, dataset: Dataset, fingerprint: str
) -> list[Assigned]:
    """Every scan of the set that a model was trained on with its split, or all of another set.

    Args:
        split: that is to be scored; `all` for another set.
        run_folder: the fine-tuning run.
        dataset: what is scored.
        fingerprint: of the splits that the model was trained on; empty where it is not known.

    Raises:
        UsageError: when the run has no splits, or none of this name.
        DataError: when they are not those that the model was trained on.
    """
    if split == ALL:
        return all_of(dataset)
    file = splits_file(run_folder)
    if file is None:
        raise UsageError(
            f"{run_folder}: has no splits.csv. Give the fine-tuning run, or --split all for data "
            f"that it has not learnt from."
        )
    assigned = read_splits(file, dataset)
    found = sorted({one.split for one in assigned})
    if split not in found:
        raise UsageError(f"{file}: no split '{split}'; found {', '.join(found)}.")
    if fingerprint and fingerprint != splits_fingerprint(assigned):
        raise DataError(
            f"{file}: is not the split that the model was trained on, so that its '{split}' "
            f"may have been learnt from. Give the run's own splits.csv back, or train again."
        )
    return assigned


def all_of(dataset: Dataset) -> list[Assigned]:
    """Every scan, to be scored."""
    return [Assigned(scan, scan.patient or scan.name, ALL) for scan in dataset.scans]


def external_dataset(external: External, model: Model) -> Dataset:
    """The scans of an external set, whose positive class must be called as the model's.

    Raises:
        DataError: for a set that cannot be used.
    """
    positive = model.card.classes[1]
    try:
        return read_dataset(external.path, positive)
    except DataError as error:
        raise DataError(
            f"External set '{external.name}': {error} The model's positive class is '{positive}', "
            f"and the set must name it so."
        ) from error


def grouped(
    assigned: Sequence[Assigned], split: str, prints: Prints, run_length: int
) -> list[Assigned]:
    """Every scan with the group that it is resampled with.

    Scans of nobody known are resampled in runs of neighbouring files where the order of the scored
    split's files carries patients. What else was read does not count: groups must not depend on a
    cache. Runs are those of the whole set.

    Args:
        assigned: every scan of the set.
        split: that is scored.
        prints: of the scans that could be read, all of the split among them.
        run_length: files of a run.
    """
    wanted = {one.scan.name for one in assigned if one.split == split}
    rows = [row for row, name in enumerate(prints.names) if name in wanted]
    scored = Prints(
        tuple(prints.names[row] for row in rows),
        prints.hashes[rows],
        tuple(prints.voxels[row] for row in rows),
        prints.thumbnails[rows],
    )
    return in_runs(assigned, scored, run_length)
