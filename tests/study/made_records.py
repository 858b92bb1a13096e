"""Made-up records, of which it is known how good each arm is; a few hundred images, no picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import rankdata

from covidssl.randomness import numpy_generator
from pipelines.study.grid import cells_of
from pipelines.study.records import Cell, Facts, Found, Images, write_images, write_record

FOLDS = 5
_STREAM = 9171


def made_images(groups_each: int = 20, members: int = 6) -> Images:
    """Both classes in as many groups of neighbours; folds are ranges of each class."""
    of_class = groups_each * members
    target = np.repeat([1, 0], of_class).astype(np.int64)
    fold = np.tile(np.arange(of_class) * FOLDS // of_class, 2).astype(np.int64)
    return Images(target, np.repeat(np.arange(2 * groups_each), members).astype(np.int64), fold)


def made_found(
    images: Images, shift: float, seed: int = 0, of_groups: float = 0.5, labels: float = 100.0
) -> Found:
    """Answers that part the classes by `shift` deviations; members of a group err alike.

    Args:
        images: of the set.
        shift: between the classes, in deviations of an image.
        seed: another gives other errors.
        of_groups: deviation that all images of a group share.
        labels: that were used, as it is said.
    """
    generator = numpy_generator(seed, _STREAM)
    shared = generator.normal(0, of_groups, int(images.group.max()) + 1)[images.group]
    logit = shift * (images.target - 0.5) + shared + generator.normal(size=len(images.target))
    chance = np.round(expit(logit), 4)
    inners = tuple(
        _area(images.target[images.fold == fold], chance[images.fold == fold])
        for fold in range(int(images.fold.max()) + 1)
    )
    return Found(chance, labels, float(np.mean(inners)), (), inners)


def _area(target: NDArray[np.int64], chance: NDArray[np.float64]) -> float:
    """AUROC from ranks: sklearn takes longer than all else here."""
    positives = int(target.sum())
    least = positives * (positives + 1) / 2
    won = float(rankdata(chance)[target == 1].sum()) - least
    return won / (positives * (len(target) - positives))


def made_facts(
    arm: str, set_name: str = "sars-cov-2-ct", split: str = "blocked", view: str = "plain"
) -> Facts:
    """Facts that do not depend on the clock or the checkout."""
    return Facts(
        set_name=set_name,
        split=split,
        view=view,
        arm=arm,
        made="2026-01-01T00:00:00+00:00",
        minutes=1.0,
        device="cpu",
        threads=1,
        git=None,
        packages={},
        sources={},
    )


def made_cells(
    images: Images, shift: float, seed: int = 0, cells: Sequence[Cell] | None = None
) -> dict[Cell, Found]:
    """One arm: of few labels it is worse than of all."""
    found = {}
    for number, cell in enumerate(cells or cells_of("probe")):
        worse = shift * cell.fraction**0.15
        found[cell] = made_found(images, worse, 1000 * seed + number, labels=200 * cell.fraction)
    return found


def write_made_study(
    records: Path,
    study: str,
    shifts: Mapping[str, float],
    sets: Sequence[str] = ("sars-cov-2-ct", "covid-ct"),
    splits: Sequence[str] = ("blocked", "random"),
    views: Sequence[str] = ("plain", "lungs_only_ranked"),
    cells: Sequence[Cell] | None = None,
) -> Images:
    """Records of a whole study below `records`, an arm being as good as its shift says."""
    images = made_images()
    for set_name in sets:
        for split in splits:
            write_images(records, set_name, split, images)
            for view in views:
                for seed, (arm, shift) in enumerate(shifts.items()):
                    facts = made_facts(arm, set_name, split, view)
                    write_record(records / study, facts, made_cells(images, shift, seed, cells))
    return images
