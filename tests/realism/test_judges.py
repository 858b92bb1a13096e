from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from covidssl.realism.judges import Examples, Folding, Judge, folds, forest, net, two_sample_auroc
from covidssl.realism.regions import PATCH_PX

JUDGES = [partial(forest, trees=100), partial(net, epochs=6)]


def some(seed: int, shift: float = 0.0, cases: tuple[int, ...] = (1, 3), n: int = 120) -> Examples:
    """Noise patches; `shift` makes their middle denser."""
    rng = np.random.default_rng(seed)
    patches = rng.normal(-800, 80, (n, PATCH_PX, PATCH_PX)).astype(np.float32)
    patches[:, 18:30, 18:30] += shift
    features = rng.normal(shift / 100, 1, (n, 4))
    features[::7, 2] = np.nan
    case = np.array(cases)[np.arange(n) % len(cases)]
    return Examples(patches, features, case * 100 + rng.integers(0, 8, n))


@pytest.mark.parametrize("judge", JUDGES, ids=["forest", "net"])
def test_lesions_of_one_kind_cannot_be_told_apart(judge: Judge) -> None:
    found = two_sample_auroc(some(0), some(1), judge, "blocks", (0,))
    assert found is not None
    assert found.value == pytest.approx(0.5, abs=0.14)
    assert found.low < 0.55


@pytest.mark.parametrize("judge", JUDGES, ids=["forest", "net"])
@pytest.mark.parametrize("folding", ["blocks", "cases"])
def test_lesions_of_two_kinds_are_told_apart(judge: Judge, folding: Folding) -> None:
    found = two_sample_auroc(some(0), some(1, shift=400.0), judge, folding, (0,))
    assert found is not None
    assert found.value > 0.95
    assert found.low > 0.85


def test_the_same_key_gives_the_same_area() -> None:
    pair = some(0), some(1, shift=60.0)
    judge = partial(net, epochs=2)
    first = two_sample_auroc(*pair, judge, "blocks", (5,))
    assert first == two_sample_auroc(*pair, judge, "blocks", (5,))


@pytest.mark.parametrize("folding", ["blocks", "cases"])
def test_no_block_of_slices_stands_on_both_sides(folding: Folding) -> None:
    both = some(0).joined(some(1, cases=(6,)))
    target = np.repeat([0, 1], 120)
    fold = folds(both.cluster, target, folding)
    for cluster in np.unique(both.cluster):
        assert len(set(fold[both.cluster == cluster])) == 1


def test_whole_cases_are_held_out() -> None:
    both = some(0).joined(some(1, cases=(6,)))
    fold = folds(both.cluster, np.repeat([0, 1], 120), "cases")
    assert set(fold[both.cluster // 100 == 1]) == {0}
    assert set(fold[both.cluster // 100 == 3]) == {1}
    assert set(fold[both.cluster // 100 == 6]) == {0, 1}


def test_lesions_that_share_no_fold_give_no_area() -> None:
    one = some(0, cases=(1,), n=3)
    assert two_sample_auroc(one, one, forest, "cases", (0,)) is None
