"""What the scores and their intervals promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from sklearn import metrics as reference

from covidssl.errors import DataError
from covidssl.metrics import (
    NAMES,
    Metric,
    Scores,
    combined,
    evaluate,
    mcnemar_test,
    paired_difference,
    permutation_test,
)
from covidssl.randomness import numpy_generator


def example(n: int = 400, decimals: int | None = None) -> tuple[NDArray[np.intp], NDArray]:
    generator = numpy_generator(5)
    target = generator.integers(0, 2, n)
    probability = np.clip(0.4 + 0.2 * target + 0.2 * generator.normal(size=n), 0, 1)
    if decimals is not None:
        probability = np.round(probability, decimals)
    return target, probability


def scored(target: NDArray, probability: NDArray, **options: object) -> Scores:
    settings = {"threshold": 0.5, "group": None, "generator": numpy_generator(1), "rounds": 200}
    return evaluate(target, probability, **{**settings, **options})


@pytest.mark.parametrize("decimals", [None, 2, 1])
def test_scores_agree_with_scikit_learn_with_and_without_ties(decimals: int | None) -> None:
    target, probability = example(decimals=decimals)
    called = probability >= 0.5
    expected = {
        "accuracy": reference.accuracy_score(target, called),
        "balanced_accuracy": reference.balanced_accuracy_score(target, called),
        "sensitivity": reference.recall_score(target, called),
        "specificity": reference.recall_score(target, called, pos_label=0),
        "ppv": reference.precision_score(target, called),
        "npv": reference.precision_score(target, called, pos_label=0),
        "f1": reference.f1_score(target, called),
        "mcc": reference.matthews_corrcoef(target, called),
        "auroc": reference.roc_auc_score(target, probability),
        "auprc": reference.average_precision_score(target, probability),
        "brier": reference.brier_score_loss(target, probability),
    }
    found = {name: e.value for name, e in scored(target, probability).estimates().items()}
    assert found == pytest.approx(expected, abs=1e-12)


def test_scores_agree_with_torchmetrics() -> None:
    import torch
    from torchmetrics.functional import classification as peer

    target, probability = example(decimals=2)
    labels, given = torch.tensor(target), torch.tensor(probability)
    expected = {
        "accuracy": peer.binary_accuracy(given, labels),
        "sensitivity": peer.binary_recall(given, labels),
        "specificity": peer.binary_specificity(given, labels),
        "ppv": peer.binary_precision(given, labels),
        "npv": peer.binary_negative_predictive_value(given, labels),
        "f1": peer.binary_f1_score(given, labels),
        "mcc": peer.binary_matthews_corrcoef(given, labels),
        "auroc": peer.binary_auroc(given, labels),
        "auprc": peer.binary_average_precision(given, labels),
    }
    # torchmetrics calls a probability of exactly the threshold negative.
    found = scored(target, probability, threshold=0.5 + 1e-9).estimates()
    for name, value in expected.items():
        assert found[name].value == pytest.approx(float(value), abs=1e-6), name


def test_area_is_the_statistic_of_the_mann_whitney_test() -> None:
    target, probability = example(decimals=1)
    above = mannwhitneyu(probability[target == 1], probability[target == 0]).statistic
    pairs = target.sum() * (1 - target).sum()
    assert scored(target, probability).auroc.value == pytest.approx(above / pairs)


def test_intervals_agree_with_a_plain_bootstrap_in_scikit_learn() -> None:
    target, probability = example(150, decimals=2)
    group = np.arange(150) // 5
    index = [np.flatnonzero(group == g) for g in range(30)]
    generator = numpy_generator(2)
    drawn = []
    for _ in range(1000):
        rows = np.concatenate([index[g] for g in generator.integers(0, 30, 30)])
        y, p = target[rows], probability[rows]
        drawn.append(
            (
                reference.roc_auc_score(y, p),
                reference.average_precision_score(y, p),
                np.mean((p >= 0.5) == y),
                np.mean((p - y) ** 2),
                y[p >= 0.5].mean(),
            )
        )
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    scores = scored(target, probability, group=[str(g) for g in group], rounds=4000)
    found = [scores.auroc, scores.auprc, scores.accuracy, scores.brier, scores.ppv]
    assert [one.low for one in found] == pytest.approx(low, abs=0.02)
    assert [one.high for one in found] == pytest.approx(high, abs=0.02)


def test_every_value_lies_inside_its_interval() -> None:
    for name, estimate in scored(*example()).estimates().items():
        assert estimate.low <= estimate.value <= estimate.high, name


def test_bootstrap_by_patient_is_wider_than_by_image() -> None:
    target, probability = example(40)
    target, probability = np.repeat(target, 10), np.repeat(probability, 10)
    patients = [f"patient {i // 10}" for i in range(400)]
    by_image = scored(target, probability, rounds=1000).auroc
    by_patient = scored(target, probability, group=patients, rounds=1000).auroc
    assert by_patient.high - by_patient.low > 2 * (by_image.high - by_image.low)


def test_same_generator_key_gives_the_same_interval() -> None:
    assert scored(*example()) == scored(*example())
    assert scored(*example()) != scored(*example(), generator=numpy_generator(2))


def test_intervals_do_not_depend_on_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scored(*example())
    monkeypatch.setattr("covidssl.metrics.resampling._BLOCK", 400 * 7)
    for name, estimate in scored(*example()).estimates().items():
        assert tuple(estimate) == pytest.approx(tuple(whole.estimates()[name])), name


def test_order_of_entries_does_not_matter_to_the_values() -> None:
    target, probability = example(decimals=1)
    turned = scored(target[::-1], probability[::-1])
    for name, estimate in scored(target, probability).estimates().items():
        assert estimate.value == pytest.approx(turned.estimates()[name].value)


def test_probability_at_the_threshold_is_positive() -> None:
    scores = scored(np.array([0, 1]), np.array([0.2, 0.5]))
    assert scores.sensitivity.value == 1.0


def test_rounds_without_a_class_are_skipped_and_counted() -> None:
    target = np.array([1, 0, 0, 0, 0, 0])
    scores = scored(target, np.linspace(0.9, 0.1, 6), rounds=1000)
    # The one positive is missing in (5/6)^6 = 33 % of the rounds.
    assert 270 < scores.skipped < 400
    assert all(np.isfinite(e).all() for e in scores.estimates().values())


def test_few_groups_of_a_class_are_pointed_out() -> None:
    target, probability = example()
    few = [
        "one" if label and i % 2 else f"p{i % 30 if not label else 90}"
        for i, label in enumerate(target)
    ]
    assert any(
        "Only 2 groups hold the positive" in c
        for c in scored(target, probability, group=few).cautions
    )
    assert scored(target, probability).cautions == ()


def halves(positive: int, negative: int) -> tuple[NDArray, NDArray]:
    """Groups of one; one in five of each class is called wrong."""
    target = np.repeat([1, 0], (positive, negative))
    wrong = np.arange(positive + negative) % 5 == 0
    return target, np.where(target ^ wrong, 0.8, 0.2) + numpy_generator(6).random(len(target)) / 10


@pytest.mark.parametrize(("groups", "said"), [(29, True), (30, False)])
def test_shares_of_a_class_of_fewer_than_30_groups_are_pointed_out(groups: int, said: bool) -> None:
    few = "Fewer than 30 groups stand behind {} ({}): such an interval holds the true share"
    first, second = scored(*halves(groups, 200)), scored(*halves(200, groups))
    for scores, name in ((first, "sensitivity"), (second, "specificity")):
        assert any(c.startswith(few.format(name, groups)) for c in scores.cautions) == said


@pytest.mark.parametrize("called", [29, 30])
def test_predictive_values_of_fewer_than_30_groups_are_pointed_out(called: int) -> None:
    target, probability = example()
    ordered = np.sort(probability)
    positive = scored(target, probability, threshold=float(ordered[-called])).cautions
    negative = scored(target, probability, threshold=float(ordered[called])).cautions
    assert any(f"behind PPV ({called})" in text for text in positive) == (called == 29)
    assert any(f"behind NPV ({called})" in text for text in negative) == (called == 29)


@pytest.mark.parametrize(("groups", "said"), [(9, True), (10, False)])
def test_fewer_than_10_groups_of_a_class_are_too_few_for_any_interval(
    groups: int, said: bool
) -> None:
    found = scored(*halves(groups, 200)).cautions
    only = f"Only {groups} groups hold the positive class"
    assert any(text.startswith(only) for text in found) == said


def test_groups_are_counted_and_not_their_scans() -> None:
    target, probability = (np.repeat(one, 10) for one in halves(29, 200))
    patients = [str(k // 10) for k in range(2290)]
    cautions = scored(target, probability, group=patients).cautions
    assert any("behind sensitivity (29)" in text for text in cautions)


def test_threshold_that_is_no_number_is_refused() -> None:
    target, probability = example(40)
    with pytest.raises(DataError, match="The threshold is NaN"):
        scored(target, probability, threshold=float("nan"))
    both = probability, probability
    for test in (
        lambda at: mcnemar_test(target, both, thresholds=at),
        lambda at: permutation_test(target, both, None, numpy_generator(1), "accuracy", at),
    ):
        with pytest.raises(DataError, match="The threshold is NaN"):
            test((0.5, float("nan")))


def test_combination_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="No classifier is given"):
        combined(example(40)[0], [], None, numpy_generator(1))


def test_interval_without_width_is_pointed_out() -> None:
    target = np.repeat([0, 1], 30)
    assert "No width in the interval of" in scored(target, target * 0.8).cautions[-1]


def test_groups_of_one_give_the_same_draws_as_no_groups() -> None:
    target, probability = example(100)
    names = [f"{k:03d}" for k in range(100)]
    assert scored(target, probability, group=names) == scored(target, probability)


def test_order_and_names_of_groups_do_not_matter() -> None:
    target, probability = example(200)
    group = np.arange(200) // 4
    shuffled = numpy_generator(9).permutation(200)
    first = scored(target, probability, group=[f"{g:03d}" for g in group])
    second = scored(
        target[shuffled], probability[shuffled], group=[f"{g:03d}" for g in group[shuffled]]
    )
    for name, estimate in first.estimates().items():
        assert tuple(estimate) == pytest.approx(tuple(second.estimates()[name])), name


# Predictive values


def test_predictive_values_at_a_prevalence_are_those_of_a_set_with_that_share() -> None:
    target, probability = example()
    # Every negative ten times: a set with another prevalence and the same sensitivity.
    rare = np.r_[np.flatnonzero(target == 1), np.repeat(np.flatnonzero(target == 0), 10)]
    called = probability[rare] >= 0.5
    found = scored(target, probability).estimates(prevalence=float(target[rare].mean()))
    assert found["ppv"].value == pytest.approx(reference.precision_score(target[rare], called))
    expected = reference.precision_score(target[rare], called, pos_label=0)
    assert found["npv"].value == pytest.approx(expected)


def test_a_positive_answer_means_less_where_the_disease_is_rare() -> None:
    scores = scored(*example())
    ppv = [scores.estimates(share)["ppv"] for share in (0.01, 0.1, 0.5)]
    assert ppv[0].high < ppv[1].low
    assert ppv[1].high < ppv[2].low
    assert all(one.low < one.value < one.high for one in ppv)


def test_prevalence_changes_predictive_values_alone() -> None:
    scores = scored(*example())
    here, there = scores.as_json(), scores.as_json(0.05)
    assert [name for name in here if here[name] != there[name]] == ["ppv", "npv"]


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, 7.0, float("nan")])
def test_prevalence_that_is_no_share_is_refused(prevalence: float) -> None:
    with pytest.raises(DataError, match="expected a share above 0 and below 1"):
        scored(*example(50)).estimates(prevalence)


# Sets that leave little to count


def test_threshold_that_calls_none_positive_has_no_ppv_and_says_so() -> None:
    scores = scored(*example(60), threshold=1.01)
    assert "ppv" not in scores.estimates()
    assert "ppv" not in scores.as_json(0.1)
    assert "No PPV: at this threshold no entry is called positive." in scores.cautions
    assert scores.mcc.value == 0.0
    assert scores.npv.value == pytest.approx(1 - example(60)[0].mean())


def test_predictive_value_of_a_single_call_is_pointed_out() -> None:
    target, probability = example(60)
    scores = scored(target, probability, threshold=float(np.sort(probability)[-1]))
    # The one entry is missing in (59/60)^60 = 36 % of the rounds.
    (caution,) = [text for text in scores.cautions if "called positive" in text]
    assert "% of the resamples no entry is called positive" in caution
    assert 0.25 < int(caution.split("%")[0].removeprefix("In ")) / 100 < 0.5


def test_threshold_that_calls_all_positive_has_no_npv() -> None:
    scores = scored(*example(60), threshold=0.0)
    assert "npv" not in scores.estimates()
    assert (scores.sensitivity.value, scores.balanced_accuracy.value) == (1.0, 0.5)


def test_equal_probabilities_order_nothing() -> None:
    target, _ = example(60)
    scores = scored(target, np.full(60, 0.3))
    assert tuple(scores.auroc) == (0.5, 0.5, 0.5)
    assert scores.auprc.value == pytest.approx(target.mean())


def test_perfect_separation_is_told_from_certainty() -> None:
    target = np.repeat([0, 1], 30)
    scores = scored(target, 0.2 + 0.6 * target)
    assert tuple(scores.auroc) == (1.0, 1.0, 1.0)
    assert "auroc" in scores.cautions[-1]
    assert "cannot show errors that did not happen" in scores.cautions[-1]


def test_set_whose_resamples_never_hold_both_classes_is_refused() -> None:
    def draws_one_twice(seed: int) -> bool:
        first, second = numpy_generator(seed).integers(0, 2, 2, dtype=np.int32)
        return first == second

    seed = next(filter(draws_one_twice, range(50)))
    with pytest.raises(DataError, match="In each of 1 resamples one class was missing"):
        scored(np.array([0, 1]), np.array([0.1, 0.9]), generator=numpy_generator(seed), rounds=1)


def test_no_rounds_are_refused() -> None:
    with pytest.raises(DataError, match="0 rounds"):
        scored(*example(20), rounds=0)


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 10), st.integers(0, 4)), min_size=2, max_size=30
    )
)
@settings(max_examples=60, deadline=None)
def test_any_small_set_is_scored_or_refused(
    entries: list[tuple[int, int, int]],
) -> None:
    target, tenths, groups = (np.array(column) for column in zip(*entries, strict=True))
    given = {"target": target, "probability": tenths / 10, "group": [str(g) for g in groups]}
    if len(set(target)) == 1 or len(set(groups)) == 1:
        with pytest.raises(DataError, match="both classes are needed|belong to one group"):
            scored(**given, rounds=50)
        return
    scores = scored(**given, rounds=50)
    for name, one in scores.estimates(0.2).items():
        assert np.isfinite(one).all(), name
        assert one.low <= one.high, name


def test_json_holds_value_low_and_high_of_each_score() -> None:
    content = scored(*example()).as_json()
    assert tuple(content) == NAMES
    assert set(content["auroc"]) == {"value", "low", "high"}


def test_missing_class_is_refused() -> None:
    with pytest.raises(DataError, match="All 3 entries carry the same label"):
        scored(np.ones(3, int), np.array([0.1, 0.2, 0.3]))


def test_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="do not fit"):
        scored(np.array([0, 1]), np.array([0.1, 0.2, 0.3]))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.1, 3.5])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(DataError, match=r"1 of 2 probabilities are not in \[0, 1\]"):
        scored(np.array([0, 1]), np.array([0.1, wrong]))


def test_label_other_than_zero_and_one_is_refused() -> None:
    with pytest.raises(DataError, match="label other than 0 and 1"):
        scored(np.array([0, 2]), np.array([0.1, 0.2]))


def test_groups_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="1 groups for 2 entries"):
        scored(np.array([0, 1]), np.array([0.1, 0.2]), group=["a"])


def test_single_group_is_refused() -> None:
    with pytest.raises(DataError, match="belong to one group"):
        scored(np.array([0, 1]), np.array([0.1, 0.2]), group=["a", "a"])


def test_difference_is_the_difference_of_the_scores() -> None:
    target, better = example()
    worse = np.clip(better + 0.3 * numpy_generator(8).normal(size=len(target)), 0, 1)
    gain = paired_difference(target, (better, worse), None, numpy_generator(3))
    expected = reference.roc_auc_score(target, better) - reference.roc_auc_score(target, worse)
    assert gain.value == pytest.approx(expected)
    assert 0 < gain.low < gain.value < gain.high


def test_classifier_differs_from_itself_by_nothing() -> None:
    target, probability = example()
    assert paired_difference(target, (probability, probability), None, numpy_generator(3)) == (
        0.0,
        0.0,
        0.0,
    )


def test_paired_interval_is_narrower_than_two_intervals_together() -> None:
    target, first = example()
    second = np.clip(first + 0.02 * numpy_generator(8).normal(size=len(target)), 0, 1)
    gain = paired_difference(target, (first, second), None, numpy_generator(3))
    alone = scored(target, first).auroc
    assert gain.high - gain.low < 0.5 * (alone.high - alone.low)


def test_accuracies_are_compared_at_their_own_thresholds() -> None:
    target, probability = example()
    gain = paired_difference(
        target, (probability, probability / 2), None, numpy_generator(3), "accuracy", (0.5, 0.25)
    )
    assert gain == (0.0, 0.0, 0.0)
    gain = paired_difference(
        target, (probability, probability / 2), None, numpy_generator(3), "accuracy"
    )
    assert gain.value > 0.1


def test_difference_refuses_arrays_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="do not fit"):
        paired_difference(
            np.array([0, 1]),
            (np.array([0.1, 0.2]), np.array([0.1])),
            None,
            numpy_generator(3),
        )


@pytest.mark.parametrize("metric", NAMES)
def test_every_score_can_be_compared(metric: Metric) -> None:
    target, first = example()
    second = np.clip(first + 0.2 * numpy_generator(8).normal(size=len(target)), 0, 1)
    gain = paired_difference(target, (first, second), None, numpy_generator(3), metric)
    ours, theirs = (scored(target, one).estimates()[metric].value for one in (first, second))
    assert gain.value == pytest.approx(ours - theirs)
    assert gain.low < gain.high
