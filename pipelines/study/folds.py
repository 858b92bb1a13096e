"""How the labelled sets are cut: at random, as such papers do, or in blocks, as counts.

Every image is scored once a split, by what has seen neither it nor what belongs to it. Within the
part that is learnt from, one block chooses; few labels are drawn in whole runs from both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from covidssl.quality.folds import Fold, make_folds
from covidssl.randomness import numpy_generator
from pipelines.study.targets import SetName, TargetSet

SplitName = Literal["blocked", "random"]
SPLITS: tuple[SplitName, ...] = ("blocked", "random")
FOLDS = 5
GAPS: Mapping[SetName, int] = {"sars-cov-2-ct": 30, "covid-ct": 20}
"""Files left out at each border of a block: COVID-CT is small, and its neighbours are pieces of
one figure, which are kept together anyway."""

_STREAM = 181
Rows = NDArray[np.int64]


class Labels(NamedTuple):
    """The labelled rows that one training may use, of one fold.

    Attributes:
        learn: rows that weights are fitted on.
        choose: rows that everything else is chosen on.
        score: rows that are scored; nothing is learnt from them.
    """

    learn: Rows
    choose: Rows
    score: Rows

    @property
    def all(self) -> Rows:
        """All rows whose labels are used."""
        return np.sort(np.concatenate((self.learn, self.choose)))


def cut(target: TargetSet, split: SplitName) -> tuple[Fold, ...]:
    """The folds of a set: rows that learn, choose and are scored; each row is scored once."""
    if split == "blocked":
        prints = target.loaded.prints
        return make_folds(target.scans, prints, FOLDS, GAPS[target.name]).folds
    kfold = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    parts = [rows for _, rows in kfold.split(target.frames, target.target)]
    return tuple(_random_fold(parts, number) for number in range(FOLDS))


def labels_of(target: TargetSet, fold: Fold, fraction: float, draw: int) -> Labels:
    """A share of the labels of one fold, group after group, of each class and part alike.

    Of the last group only so many images are drawn as are wanted, and one image at least of each
    class and part: whole groups would make 10 % of a small set 14 %, and 1 % the same as 2 %.

    Args:
        target: the set.
        fold: one of `cut`.
        fraction: of the labels.
        draw: which of the draws; a smaller fraction's images are among a larger one's.
    """
    if fraction == 1.0:
        return Labels(fold.learn, fold.choose, fold.score)
    group = np.array(target.group)
    first = int(fold.score.min())
    parts = [
        _some(rows, target.target, group, fraction, (draw, first, part))
        for part, rows in enumerate((fold.learn, fold.choose))
    ]
    return Labels(parts[0], parts[1], fold.score)


def groups_of_rarer(target: Rows, group: NDArray[Any], rows: Rows) -> int:
    """Groups of the class that has fewer of them, among rows of a set."""
    return min(len(np.unique(group[rows[target[rows] == kind]])) for kind in (0, 1))


def _some(
    rows: Rows,
    target: Rows,
    group: NDArray[np.str_],
    fraction: float,
    key: tuple[int, int, int],
) -> Rows:
    taken = []
    for positive in (0, 1):
        own = rows[target[rows] == positive]
        names = np.unique(group[own])
        generator = numpy_generator(_STREAM, *key, positive)
        wanted, count = ceil(fraction * len(own)), 0
        for place in generator.permutation(len(names)):
            if count >= wanted:
                break
            members = generator.permutation(own[group[own] == names[place]])[: wanted - count]
            taken.append(members)
            count += len(members)
    return np.sort(np.concatenate(taken))


def _random_fold(parts: Sequence[Rows], number: int) -> Fold:
    choose = (number + 1) % len(parts)
    learn = [rows for at, rows in enumerate(parts) if at not in (number, choose)]
    return Fold(np.sort(np.concatenate(learn)), parts[choose], parts[number])
