"""What the scores and their intervals promise."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as reference

from covidssl.errors import DataError
from covidssl.metrics import NAMES, Scores, evaluate, paired_difference
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
        "sensitivity": reference.recall_score(target, called),
        "specificity": reference.recall_score(target, called, pos_label=0),
        "f1": reference.f1_score(target, called),
        "auroc": reference.roc_auc_score(target, probability),
        "auprc": reference.average_precision_score(target, probability),
    }
    found = {name: e.value for name, e in scored(target, probability).estimates().items()}
    assert found == pytest.approx(expected, abs=1e-12)


def test_intervals_agree_with_a_plain_bootstrap_in_scikit_learn() -> None:
    target, probability = example(150, decimals=2)
    group = np.arange(150) // 5
    index = [np.flatnonzero(group == g) for g in range(30)]
    generator = numpy_generator(2)
    drawn = []
    for _ in range(2000):
        rows = np.concatenate([index[g] for g in generator.integers(0, 30, 30)])
        drawn.append(
            (
                reference.roc_auc_score(target[rows], probability[rows]),
                reference.average_precision_score(target[rows], probability[rows]),
            )
        )
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    scores = scored(target, probability, group=[str(g) for g in group], rounds=2000)
    assert (scores.auroc.low, scores.auprc.low) == pytest.approx(low, abs=0.01)
    assert (scores.auroc.high, scores.auprc.high) == pytest.approx(high, abs=0.01)


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
    monkeypatch.setattr("covidssl.metrics._BLOCK", 400 * 7)
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


def test_interval_without_width_is_pointed_out() -> None:
    target = np.repeat([0, 1], 30)
    assert "No width in the interval of" in scored(target, target * 0.8).cautions[-1]


def test_json_holds_value_low_and_high_of_each_score() -> None:
    content = scored(*example()).as_json()
    assert tuple(content) == NAMES
    assert set(content["auroc"]) == {"value", "low", "high"}


def test_two_thousand_rounds_over_2500_images_take_seconds() -> None:
    target, probability = example(2500)
    start = time.perf_counter()
    scored(target, probability, rounds=2000)
    # About 0.6 s alone; the bound allows for a busy machine.
    assert time.perf_counter() - start < 10


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
