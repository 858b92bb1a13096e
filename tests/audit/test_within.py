"""The AUROC of an audit compares scans of one fold, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from covidssl.audit.within import auroc_within_folds, spread_by_chance
from covidssl.errors import DataError
from covidssl.metrics import evaluate
from covidssl.randomness import numpy_generator


def drawn(n: int, folds: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Labels, probabilities with ties, and folds of unequal share of the classes."""
    generator = numpy_generator(seed, 9)
    fold = generator.integers(0, folds, n)
    target = (generator.random(n) < 0.3 + 0.1 * fold).astype(int)
    probability = np.clip(np.round(0.2 * target + generator.random(n), 1) / 1.2, 0, 1)
    return target, probability, fold


def test_it_is_the_mean_of_the_folds_weighted_by_their_pairs() -> None:
    target, probability, fold = drawn(300, 5)
    pairs = [np.prod(np.bincount(target[fold == k])) for k in range(5)]
    each = [roc_auc_score(target[fold == k], probability[fold == k]) for k in range(5)]
    names = [str(row) for row in range(300)]
    found = auroc_within_folds(target, probability, fold, names, numpy_generator(1), 200)
    assert found.value == pytest.approx(np.average(each, weights=pairs))
    assert found.low < found.value < found.high


def test_of_one_fold_it_is_the_usual_auroc_with_its_interval() -> None:
    target, probability, _ = drawn(200, 1)
    names = [str(row // 5) for row in range(200)]
    usual = evaluate(target, probability, 0.5, names, numpy_generator(1), 300).auroc
    found = auroc_within_folds(
        target, probability, np.zeros(200, int), names, numpy_generator(1), 300
    )
    assert found == pytest.approx(usual)


def test_a_fold_that_is_scored_higher_as_a_whole_tells_nothing() -> None:
    target = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    fold = np.repeat([0, 1], 4)
    probability = np.where(fold == 1, 0.9, 0.1)
    names = [str(row) for row in range(8)]
    usual = evaluate(target, probability, 0.5, names, numpy_generator(1), 100).auroc
    found = auroc_within_folds(target, probability, fold, names, numpy_generator(1), 100)
    assert usual.value == 0.75
    assert found == (0.5, 0.5, 0.5)


def test_folds_of_one_class_each_have_no_pair_to_compare() -> None:
    target = np.repeat([0, 1], 4)
    with pytest.raises(DataError, match="No fold scores both classes"):
        auroc_within_folds(target, target * 0.5, target, list("abcdefgh"), numpy_generator(1), 100)


@pytest.mark.parametrize(("folds", "slices"), [(1, 1), (5, 1), (5, 3)])
def test_spread_is_that_of_scores_that_know_nothing(folds: int, slices: int) -> None:
    generator = numpy_generator(4, 8)
    target = np.repeat([0, 1], 20 * slices)
    names = [f"{row // slices}" for row in range(len(target))]
    fold = np.tile(np.repeat(np.arange(20) % folds, slices), 2)
    areas = [
        auroc_within_folds(target, said, fold, names, generator, 2).value
        for said in (np.repeat(generator.random(40), slices) for _ in range(2000))
    ]
    assert spread_by_chance(target, fold, names) == pytest.approx(np.std(areas), rel=0.08)
