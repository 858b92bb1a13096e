"""What DeLong's interval and paired test promise, for entries alone and in groups."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from covidssl.errors import DataError
from covidssl.metrics import delong_interval, paired_delong, paired_difference
from covidssl.randomness import numpy_generator

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


def example(n: int = 200, decimals: int = 2) -> tuple[NDArray[np.int64], Pair]:
    generator = numpy_generator(11)
    target = generator.integers(0, 2, n)
    first = np.clip(0.4 + 0.2 * target + 0.2 * generator.normal(size=n), 0, 1)
    second = np.clip(first + 0.15 * generator.normal(size=n), 0, 1)
    return target, (np.round(first, decimals), np.round(second, decimals))


def in_groups(groups: int, each: int, seed: int = 12) -> tuple[NDArray[np.int64], Pair, list[str]]:
    """Entries of patients: what is alike in a patient moves all of the patient's scores."""
    generator = numpy_generator(seed)
    patient = np.repeat(np.arange(groups), each)
    sick = generator.integers(0, 2, groups)
    target = np.where(generator.random(len(patient)) < 0.8, sick[patient], 1 - sick[patient])
    shared = generator.normal(size=(2, groups))[:, patient]
    own = generator.normal(size=(2, len(patient)))
    first, second = (
        1 / (1 + np.exp(-(0.8 * target + 0.9 * s + 0.4 * o)))
        for s, o in zip(shared, own, strict=True)
    )
    return target, (first, second), [f"p{k:03d}" for k in patient]


def by_pairs(
    target: NDArray[np.int64], score: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much every positive and every negative entry adds to the area, by counting pairs."""
    positive, negative = score[target == 1][:, None], score[target == 0][None]
    won = (positive > negative) + 0.5 * (positive == negative)
    return won.mean(axis=1), won.mean(axis=0)


@pytest.mark.parametrize("decimals", [6, 2, 1])
def test_area_and_interval_agree_with_confidenceinterval(decimals: int) -> None:
    from confidenceinterval import roc_auc_score as peer

    target, (probability, _) = example(decimals=decimals)
    area, (low, high) = peer(target.tolist(), probability.tolist())
    found = delong_interval(target, probability)
    assert tuple(found.estimate) == pytest.approx((area, low, high), abs=1e-6)
    assert found.cautions == ()


@pytest.mark.parametrize("decimals", [6, 2, 1])
def test_paired_test_agrees_with_mlstatkit(decimals: int) -> None:
    from MLstatkit import Delong_test

    target, (first, second) = example(decimals=decimals)
    # It takes the second less the first.
    z, p, *_ = Delong_test(target, second, first)
    found = paired_delong(target, (first, second))
    assert (found.statistic, found.p_value) == pytest.approx((z, p), abs=1e-9)


def test_variance_is_the_one_that_counting_all_pairs_gives() -> None:
    target, (probability, _) = example(80, decimals=1)
    positive, negative = by_pairs(target, probability)
    variance = positive.var(ddof=1) / len(positive) + negative.var(ddof=1) / len(negative)
    assert delong_interval(target, probability).error == pytest.approx(np.sqrt(variance))


def test_grouped_variance_is_obuchowskis_written_out() -> None:
    target, (probability, _), group = in_groups(15, 4)
    positive, negative = by_pairs(target, probability)
    area = roc_auc_score(target, probability)
    names = np.array(group)
    of_positive, of_negative = names[target == 1], names[target == 0]
    m, n = len(positive), len(negative)
    every = sorted(set(group))
    v10 = np.array([np.sum(positive[of_positive == g] - area) for g in every])
    v01 = np.array([np.sum(negative[of_negative == g] - area) for g in every])
    i10, i01, i = len(set(of_positive)), len(set(of_negative)), len(every)
    s10 = i10 / ((i10 - 1) * m) * np.sum(v10**2)
    s01 = i01 / ((i01 - 1) * n) * np.sum(v01**2)
    s11 = i / (i - 1) * np.sum(v10 * v01)
    variance = s10 / m + s01 / n + 2 * s11 / (m * n)
    found = delong_interval(target, probability, group)
    assert found.error == pytest.approx(np.sqrt(variance))
    assert found.estimate.value == pytest.approx(area)


def test_groups_of_one_entry_change_nothing() -> None:
    target, both = example(60)
    names = [f"{k:02d}" for k in range(60)]
    assert paired_delong(target, both, names) == paired_delong(target, both)
    assert delong_interval(target, both[0], names) == delong_interval(target, both[0])


def test_repeated_entries_are_no_evidence_once_their_group_is_known() -> None:
    target, (probability, _) = example(60)
    group = [str(k) for k in range(60)] * 5
    alone = delong_interval(target, probability).error
    naive = delong_interval(np.tile(target, 5), np.tile(probability, 5)).error
    grouped = delong_interval(np.tile(target, 5), np.tile(probability, 5), group).error
    assert grouped == pytest.approx(alone, rel=1e-9)
    assert naive < 0.5 * alone


def test_grouped_interval_is_about_the_bootstraps() -> None:
    target, both, group = in_groups(80, 4)
    delong = paired_delong(target, both, group).difference
    drawn = paired_difference(target, both, group, numpy_generator(3))
    assert delong.value == pytest.approx(drawn.value)
    assert delong.high - delong.low == pytest.approx(drawn.high - drawn.low, rel=0.12)
    naive = paired_delong(target, both).difference
    assert naive.high - naive.low < 0.9 * (delong.high - delong.low)


def test_equal_classifiers_are_found_different_no_more_often_than_said() -> None:
    low = [paired_delong(*in_groups(40, 3, seed)).p_value < 0.05 for seed in range(300)]
    # 5 % of 300 is 15, with a standard deviation of 4.
    assert 3 <= sum(low) <= 28


def test_classifier_does_not_differ_from_itself() -> None:
    target, (first, _) = example()
    found = paired_delong(target, (first, first / 2))
    assert (found.p_value, tuple(found.difference)) == (1.0, (0.0, 0.0, 0.0))


def test_better_and_worse_change_the_sign() -> None:
    target, (first, second) = example()
    one, other = paired_delong(target, (first, second)), paired_delong(target, (second, first))
    assert one.statistic == pytest.approx(-other.statistic)
    assert one.p_value == pytest.approx(other.p_value)


def test_perfect_separation_has_no_width_and_says_so() -> None:
    target = np.repeat([0, 1], 20)
    found = delong_interval(target, 0.2 + 0.6 * target)
    assert (tuple(found.estimate), found.error) == ((1.0, 1.0, 1.0), 0.0)
    assert "cannot show errors that did not happen" in found.cautions[-1]


def test_separation_the_wrong_way_round_says_so_too() -> None:
    target = np.repeat([0, 1], 20)
    found = delong_interval(target, 0.8 - 0.6 * target)
    assert found.estimate.value == 0
    assert "the classes are parted without an error" in found.cautions[-1]


def test_equal_scores_are_chance_without_width() -> None:
    found = delong_interval(np.repeat([0, 1], 20), np.full(40, 0.5))
    assert tuple(found.estimate) == (0.5, 0.5, 0.5)
    (caution,) = found.cautions
    assert "every scan adds the same to the area" in caution
    assert "without an error" not in caution


def test_interval_stays_within_zero_and_one() -> None:
    target = np.repeat([0, 1], 12)
    probability = np.linspace(0, 1, 24)
    probability[[11, 12]] = probability[[12, 11]]
    assert delong_interval(target, probability).estimate.high == 1.0


def test_difference_without_variance_is_refused() -> None:
    target = np.repeat([0, 1], 20)
    with pytest.raises(DataError, match="variance of their difference is 0"):
        paired_delong(target, (target * 1.0, 1.0 - target))


def test_few_groups_of_a_class_are_pointed_out() -> None:
    target, both = example(60)
    group = [f"p{k % 6}" for k in range(60)]
    assert "Only 6 groups hold the positive class" in paired_delong(target, both, group).cautions[0]


@pytest.mark.parametrize(
    ("target", "probability", "group", "said"),
    [
        ([1, 1], [0.1, 0.2], None, "both classes are needed"),
        ([0, 1], [0.1, np.nan], None, "1 of 2 probabilities are not in"),
        ([0, 0, 1], [0.1, 0.2, 0.3], None, "One group holds all of the positive class"),
        ([0, 1, 0, 1], [0.1] * 4, ["a"] * 4, "belong to one group"),
        ([0, 1, 0, 1], [0.1] * 4, ["a", "b", "c", "b"], "One group holds all of the positive"),
        ([0, 1], [0.1], None, "do not fit"),
    ],
)
def test_what_no_variance_can_be_had_of_is_refused(
    target: list[int], probability: list[float], group: list[str] | None, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        delong_interval(np.array(target), np.array(probability), group)
