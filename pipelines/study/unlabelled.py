"""The second corpus: LUNA16 slices and a clinic's own images, their labels not looked at.

One store a fold of the blocked split. Of both sets it holds what that fold learns and chooses on:
no image that the fold scores, none beside one in the file order, and none that looks like one, in
whichever of the sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

from covidssl.commands import prepare
from covidssl.experiments import PrepareConfig
from covidssl.splits import Prints
from pipelines.study.folds import Rows, cut
from pipelines.study.targets import SetName, TargetSet

LUNA16 = "luna16-slices"


def training_rows(targets: Sequence[TargetSet], fold: int) -> dict[SetName, Rows]:
    """Rows of each set that pretraining for a fold may see.

    Args:
        targets: all sets.
        fold: number of the blocked fold that will be scored, of each of them.
    """
    folds = {target.name: cut(target, "blocked")[fold] for target in targets}
    scored = _known(targets, {name: one.score for name, one in folds.items()})
    found = {}
    for target in targets:
        one = folds[target.name]
        rows = np.sort(np.concatenate((one.learn, one.choose)))
        alike = [f"{target.name}/{target.scans[row].name}" in scored for row in rows]
        found[target.name] = rows[~np.array(alike)]
    return found


def images_of_fold(targets: Sequence[TargetSet], fold: int) -> dict[str, str]:
    """By set, a SHA-256 over the frames of the set and the names that a fold may learn from.

    A store of another one may hold what the fold scores now.
    """
    found: dict[str, str] = {}
    rows = training_rows(targets, fold)
    for target in targets:
        learnt = (target.scans[row].name for row in rows[target.name].tolist())
        names = [target.loaded.fingerprint, *learnt]
        found[target.name] = sha256("\n".join(names).encode()).hexdigest()
    return found


def _known(targets: Sequence[TargetSet], rows: Mapping[SetName, Rows]) -> set[str]:
    """Names of what is scored, and of what looks like it in any set."""
    prints = Prints(
        tuple(f"{t.name}/{name}" for t in targets for name in t.loaded.prints.names),
        np.concatenate([t.loaded.prints.hashes for t in targets]),
        tuple(one for t in targets for one in t.loaded.prints.voxels),
        np.concatenate([t.loaded.prints.thumbnails for t in targets]),
    )
    scored = {f"{t.name}/{t.scans[row].name}" for t in targets for row in rows[t.name]}
    like = set(scored)
    for first, second, _bits in prints.alike:
        pair = {prints.names[first], prints.names[second]}
        like |= pair if pair & scored else set()
    return like


def prepare_luna16(data: Path, store: Path) -> None:
    """Prepare the first corpus: slices of normal CT, those with enough lung."""
    prepare.main(PrepareConfig(), [data / LUNA16], store, "resume")


def prepare_with_targets(
    data: Path, targets: Sequence[TargetSet], fold: int, store: Path
) -> dict[SetName, int]:
    """Prepare the second corpus of a fold; gives how many images of each set went in."""
    rows = training_rows(targets, fold)
    files = [
        target.scans[row].files.paths[0] for target in targets for row in rows[target.name].tolist()
    ]
    prepare.main(PrepareConfig(), [data / LUNA16, *files], store, "resume")
    return {name: len(found) for name, found in rows.items()}
