"""What the permutation test, McNemar's test and Holm's correction promise."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import permutation_test as scipy_permutation
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from covidssl.errors import DataError
from covidssl.metrics import holm, mcnemar_test, paired_delong, permutation_test
from covidssl.randomness import numpy_generator
from tests.metrics.test_delong import Pair, example, in_groups


def permuted(target: NDArray[np.int64], both: Pair, group: list[str] | None = None, **options):
    return permutation_test(target, both, group, numpy_generator(21), **options)


# Permutation


def test_all_swaps_of_few_groups_are_gone_through() -> None:
    target, (first, second), group = in_groups(8, 3, seed=5)
    names, index = np.unique(group, return_inverse=True)
    found = permuted(target, (first, second), group, metric="accuracy")
    differences = []
    for swaps in product([False, True], repeat=len(names)):
        swap = np.array(swaps)[index]
        a, b = np.where(swap, second, first), np.where(swap, first, second)
        differences.append(np.mean((a >= 0.5) == target) - np.mean((b >= 0.5) == target))
    as_large = np.abs(differences) >= abs(differences[0]) - 1e-12
    assert found.difference.value == pytest.approx(differences[0])
    assert found.p_value == pytest.approx(np.mean(as_large))


def test_p_of_the_accuracy_agrees_with_scipy() -> None:
    target, both = example(300)
    right = [((one >= 0.5) == target).astype(float) for one in both]
    peer = scipy_permutation(
        right,
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        permutation_type="samples",
        n_resamples=9999,
        vectorized=True,
        batch=500,
        rng=numpy_generator(4),
    )
    found = permuted(target, both, metric="accuracy")
    assert found.difference.value == pytest.approx(peer.statistic)
    assert found.p_value == pytest.approx(peer.pvalue, abs=0.02)


@pytest.mark.parametrize("turned", [False, True])
def test_p_is_two_sided_whichever_classifier_comes_first(turned: bool) -> None:
    target, both = in_groups(40, 1, seed=15)[:2]
    given = both[::-1] if turned else both
    right = [((one >= 0.5) == target).astype(float) for one in given]
    peer = scipy_permutation(
        right,
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        permutation_type="samples",
        n_resamples=9999,
        vectorized=True,
        batch=500,
        rng=numpy_generator(4),
    )
    found = permuted(target, given, metric="accuracy")
    assert 0.2 < peer.pvalue < 0.5  # one side alone would give half of it
    assert found.p_value == pytest.approx(peer.pvalue, abs=0.02)
    assert (found.difference.value < 0) == turned


def test_p_of_the_area_is_about_delongs() -> None:
    target, both = example(400)
    found = permuted(target, both)
    assert found.difference.value == pytest.approx(
        roc_auc_score(target, both[0]) - roc_auc_score(target, both[1])
    )
    assert found.p_value == pytest.approx(paired_delong(target, both).p_value, abs=0.03)


def test_another_scale_of_the_probabilities_changes_no_area() -> None:
    target, (first, second) = example(100)
    scaled = permuted(target, (first, second**3 / 10))
    assert scaled.p_value == pytest.approx(permuted(target, (first, second)).p_value)


def test_swapping_entries_of_a_patient_alone_finds_too_much() -> None:
    target, both, group = in_groups(30, 6, seed=7)
    copies = [np.tile(one, 4) for one in both]
    grouped = permuted(np.tile(target, 4), (copies[0], copies[1]), group * 4)
    assert grouped.p_value == pytest.approx(permuted(target, both, group).p_value, abs=0.02)
    assert permuted(np.tile(target, 4), (copies[0], copies[1])).p_value < grouped.p_value


def test_classifier_does_not_differ_from_itself() -> None:
    target, (first, _) = example(60)
    assert permuted(target, (first, first)).p_value == 1.0


def test_p_is_never_zero() -> None:
    target = np.repeat([0, 1], 40)
    found = permuted(target, (target * 1.0, 1.0 - target))
    assert found.p_value == pytest.approx(1e-4)


def test_few_groups_cannot_give_a_small_p_and_that_is_said() -> None:
    target, both, group = in_groups(5, 8, seed=6)
    found = permuted(target, both, group)
    assert found.p_value >= 2 / 32
    assert found.cautions == ("Only 5 groups can be swapped: p cannot be below 0.062.",)


def test_predictive_values_are_not_permuted() -> None:
    with pytest.raises(DataError, match="ppv may be undefined after a swap"):
        permuted(*example(40), metric="ppv")


def test_blocks_do_not_change_p(monkeypatch: pytest.MonkeyPatch) -> None:
    target, both, group = in_groups(20, 2)
    whole = permuted(target, both, group)
    monkeypatch.setattr("covidssl.metrics.permuted._BLOCK", 700)
    assert permuted(target, both, group) == whole


def test_result_goes_into_json_without_an_interval() -> None:
    said = json.loads(json.dumps(permuted(*example(40)).as_json(), allow_nan=False))
    assert said["difference"]["low"] is None
    assert said["test"] == "permutation"
    assert said["groups"] == 40


# McNemar


@pytest.mark.parametrize("kind", ["exact", "corrected"])
def test_mcnemar_agrees_with_statsmodels(kind: str) -> None:
    target, both = example(200)
    right = [(one >= at) == target for one, at in zip(both, (0.5, 0.45), strict=True)]
    table = [
        [np.sum((right[0] == a) & (right[1] == b)) for b in (True, False)] for a in (True, False)
    ]
    peer = mcnemar(table, exact=kind == "exact", correction=True)
    found = mcnemar_test(target, both, thresholds=(0.5, 0.45), kind=kind)
    assert found.p_value == pytest.approx(peer.pvalue)
    assert found.difference.value == pytest.approx(right[0].mean() - right[1].mean())
    assert found.difference.low < found.difference.value < found.difference.high
    if kind == "corrected":
        assert found.statistic == pytest.approx(peer.statistic)


def test_mcnemars_interval_is_walds_for_paired_shares() -> None:
    target, both = example(200)
    right = [(one >= at) == target for one, at in zip(both, (0.5, 0.45), strict=True)]
    difference = right[0].astype(float) - right[1]
    found = mcnemar_test(target, both, thresholds=(0.5, 0.45)).difference
    n10, n01 = np.sum(difference == 1), np.sum(difference == -1)
    half = 1.959964 * np.sqrt(n10 + n01 - (n10 - n01) ** 2 / 200) / 200
    assert abs(n10 - n01) > 5  # so that the square counts
    assert found.high - found.value == pytest.approx(half, rel=1e-6)
    # statsmodels divides by one entry less.
    low, high = DescrStatsW(difference).zconfint_mean()
    assert found.high - found.low == pytest.approx((high - low) * np.sqrt(199 / 200), rel=1e-9)


@pytest.mark.parametrize("kind", ["exact", "corrected"])
def test_without_a_discordant_entry_nothing_differs(kind: str) -> None:
    target, (first, _) = example(40)
    found = mcnemar_test(target, (first, first), kind=kind)
    assert (found.p_value, tuple(found.difference)) == (1.0, (0.0, 0.0, 0.0))


def test_one_discordant_entry_each_is_no_difference_after_correction() -> None:
    target = np.array([0, 1, 0, 1])
    both = (np.array([0.9, 0.9, 0.1, 0.9]), np.array([0.1, 0.1, 0.1, 0.9]))
    assert mcnemar_test(target, both, kind="corrected").p_value == 1.0


def test_mcnemar_says_that_it_does_not_know_groups() -> None:
    target, both, group = in_groups(20, 3)
    (caution,) = mcnemar_test(target, both, group).cautions
    assert "60 entries for independent, and they come in 20 groups" in caution
    assert mcnemar_test(target, both).cautions == ()


# Holm


@pytest.mark.parametrize("seed", range(5))
def test_holm_agrees_with_statsmodels(seed: int) -> None:
    p = numpy_generator(seed).random(7) ** 3
    p[3] = p[1]
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])


def test_one_test_needs_no_correction_and_none_gives_none() -> None:
    assert holm([0.03]).tolist() == [0.03]
    assert holm([]).tolist() == []


@pytest.mark.parametrize("wrong", [[0.1, np.nan], [-0.1], [1.5], [[0.1]]])
def test_what_is_no_p_value_is_refused(wrong: list[float]) -> None:
    with pytest.raises(DataError, match="expected a list of numbers from 0 to 1"):
        holm(wrong)
