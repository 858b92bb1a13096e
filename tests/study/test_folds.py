"""Every image is scored once, by what has seen neither it nor what belongs to it."""

from __future__ import annotations

from itertools import combinations, pairwise
from math import ceil

import numpy as np
import pytest

from covidssl.quality.folds import Fold
from pipelines.study.folds import FOLDS, GAPS, SPLITS, Labels, SplitName, cut, labels_of
from tests.study.made_targets import made_target

OF_CLASS = 400
SAME = {399: 3, 410: 790}
TARGET = made_target(OF_CLASS, same=SAME, patients={20: "a", 250: "a"})
GROUP = np.array(TARGET.group)
BLOCKED, RANDOM = (cut(TARGET, split) for split in ("blocked", "random"))
FRACTIONS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)


@pytest.mark.parametrize("split", SPLITS)
def test_every_row_is_scored_in_one_fold(split: SplitName) -> None:
    folds = cut(TARGET, split)
    assert len(folds) == FOLDS
    scored = np.concatenate([fold.score for fold in folds])
    np.testing.assert_array_equal(np.sort(scored), np.arange(2 * OF_CLASS))


@pytest.mark.parametrize("fold", [*BLOCKED, *RANDOM])
def test_no_row_is_in_two_parts_and_both_classes_are_in_each(fold: Fold) -> None:
    for a, b in combinations(fold, 2):
        assert not set(a.tolist()) & set(b.tolist())
    for rows in fold:
        assert set(TARGET.target[rows].tolist()) == {0, 1}


@pytest.mark.parametrize("fold", BLOCKED)
def test_blocks_keep_their_distance(fold: Fold) -> None:
    """No image is learnt from that stands within the gap of one that is scored or chooses."""
    gap = GAPS[TARGET.name]
    for a, b in combinations(fold, 2):
        for positive in (0, 1):
            first, second = (rows[TARGET.target[rows] == positive] for rows in (a, b))
            assert np.abs(first[:, None] - second[None]).min() > gap


@pytest.mark.parametrize("fold", BLOCKED)
def test_what_belongs_together_is_on_one_side(fold: Fold) -> None:
    """Runs of neighbours, the same picture twice, and what is of one patient."""
    for a, b in combinations(fold, 2):
        assert not set(GROUP[a]) & set(GROUP[b])
        for pair in (*SAME.items(), (20, 250)):
            assert not (set(pair) & set(a.tolist()) and set(pair) & set(b.tolist()))


def test_a_random_split_parts_neighbours_which_is_why_it_does_not_count() -> None:
    fold = RANDOM[0]
    assert len(set(GROUP[fold.learn]) & set(GROUP[fold.score])) > 20


def test_folds_are_the_same_in_every_run() -> None:
    for split, folds in (("blocked", BLOCKED), ("random", RANDOM)):
        for fold, again in zip(folds, cut(TARGET, split), strict=True):
            for rows, same in zip(fold, again, strict=True):
                np.testing.assert_array_equal(rows, same)


def drawn(fraction: float, draw: int = 0, fold: Fold = BLOCKED[1]) -> Labels:
    return labels_of(TARGET, fold, fraction, draw)


@pytest.mark.parametrize("fold", [*BLOCKED, *RANDOM[:1]])
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_just_so_many_labels_are_drawn_group_after_group(fold: Fold, fraction: float) -> None:
    """Of both classes alike; of the last group only what is wanted."""
    given = drawn(fraction, 2, fold)
    np.testing.assert_array_equal(given.score, fold.score)
    for taken, part in ((given.learn, fold.learn), (given.choose, fold.choose)):
        assert set(taken.tolist()) <= set(part.tolist())
        assert len(set(taken.tolist())) == len(taken)
        for positive in (0, 1):
            few, all_of = (rows[TARGET.target[rows] == positive] for rows in (taken, part))
            wanted = ceil(fraction * len(all_of))
            assert len(few) == wanted
            cut_short = set(GROUP[few]) & set(GROUP[np.setdiff1d(all_of, few)])
            assert len(cut_short) <= 1


def test_a_smaller_shares_groups_are_among_a_larger_ones() -> None:
    for draw in range(3):
        for less, more in pairwise(FRACTIONS):
            few, many = drawn(less, draw), drawn(more, draw)
            assert set(few.learn.tolist()) <= set(many.learn.tolist())
            assert set(few.choose.tolist()) <= set(many.choose.tolist())


def test_draws_differ_from_each_other_and_not_from_run_to_run() -> None:
    draws = [tuple(drawn(0.1, draw).all.tolist()) for draw in range(5)]
    assert len(set(draws)) == 5
    assert tuple(drawn(0.1, 3).all.tolist()) == draws[3]


def test_all_labels_are_all_labels() -> None:
    given = drawn(1.0)
    np.testing.assert_array_equal(
        given.all, np.sort(np.concatenate((BLOCKED[1].learn, BLOCKED[1].choose)))
    )
