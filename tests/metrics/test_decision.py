"""What a decision curve promises."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from covidssl.errors import DataError
from covidssl.metrics import Asked, decision_curve
from covidssl.metrics.resampling import draws
from covidssl.randomness import numpy_generator


def example(n: int = 200) -> tuple[NDArray, NDArray]:
    generator = numpy_generator(41)
    target = (generator.random(n) < 0.3).astype(int)
    return target, np.clip(0.3 + 0.25 * target + 0.15 * generator.normal(size=n), 0, 1)


def curve_of(target: NDArray, probability: NDArray, *at: float, **options):
    asked = Asked(at or None, rounds=300, **options)
    return decision_curve(target, probability, None, numpy_generator(42), asked)


@pytest.mark.parametrize("at", [0.05, 0.3, 0.5, 0.8])
def test_net_benefit_is_vickers_and_elkins(at: float) -> None:
    target, probability = example()
    _, false_positive, _, true_positive = confusion_matrix(target, probability >= at).ravel()
    expected = (true_positive - false_positive * at / (1 - at)) / len(target)
    found = curve_of(target, probability, at)
    assert found.model[0, 0] == pytest.approx(expected)
    everyone = target.mean() - (1 - target.mean()) * at / (1 - at)
    assert found.treat_all[0, 0] == pytest.approx(everyone)
    assert found.gain[0, 0] == pytest.approx(expected - max(everyone, 0))


def test_values_lie_in_their_intervals_at_99_thresholds() -> None:
    found = curve_of(*example())
    assert found.thresholds.tolist() == pytest.approx([k / 100 for k in range(1, 100)])
    for kind in (found.model, found.treat_all):
        assert kind.shape == (99, 3)
        assert (kind[:, 1] <= kind[:, 0] + 1e-12).all()
        assert (kind[:, 0] <= kind[:, 2] + 1e-12).all()


def test_intervals_agree_with_a_plain_bootstrap() -> None:
    target, probability = example(120)
    generator = numpy_generator(43)
    drawn = []
    for _ in range(2000):
        rows = generator.integers(0, 120, 120)
        called = probability[rows] >= 0.4
        hits = np.mean(called & (target[rows] == 1))
        drawn.append(hits - np.mean(called & (target[rows] == 0)) * 0.4 / 0.6)
    found = decision_curve(target, probability, None, numpy_generator(44), Asked([0.4]))
    assert found.model[0, 1:] == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=0.02)


def test_intervals_are_the_percentiles_of_the_very_resamples() -> None:
    target, probability = example(120)
    called = probability >= 0.4
    weights = np.concatenate(list(draws(np.arange(120), numpy_generator(42), 300)))
    hits, alarms = weights @ (called & (target == 1)), weights @ (called & (target == 0))
    model = (hits - alarms * 0.4 / 0.6) / 120
    everyone = (weights @ target - weights @ (1 - target) * 0.4 / 0.6) / 120
    found = curve_of(target, probability, 0.4)
    for row, drawn in (
        (found.model, model),
        (found.treat_all, everyone),
        (found.gain, model - np.maximum(everyone, 0)),
    ):
        assert row[0, 1:] == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=1e-12)


@pytest.mark.parametrize("at", [0.29, 0.3, 0.6])
def test_a_probability_at_the_threshold_is_acted_on(at: float) -> None:
    found = curve_of(np.array([1, 0, 0, 0]), np.array([at, 0.01, 0.01, 0.01]), at)
    assert found.model[0, 0] == 0.25
    of_all = curve_of(np.array([1, 0, 0, 0]), np.array([at, 0.001, 0.001, 0.001]))
    assert of_all.model[round(100 * at) - 1, 0] == 0.25
    assert of_all.model[round(100 * at), 0] == 0


def test_perfect_classifier_gains_the_prevalence_at_every_threshold() -> None:
    target = np.repeat([0, 1], (15, 5))
    found = curve_of(target, target * 0.98 + 0.005, 0.1, 0.5, 0.9)
    assert found.model[:, 0] == pytest.approx([0.25] * 3)


def test_calling_all_positive_is_the_curve_of_equal_high_scores() -> None:
    target, _ = example()
    found = curve_of(target, np.full(len(target), 0.999))
    np.testing.assert_allclose(found.model, found.treat_all)
    assert (found.gain[:, 0] <= 1e-12).all()


def test_curve_at_another_prevalence_is_that_of_a_set_with_it() -> None:
    target, probability = example()
    rare = np.r_[np.flatnonzero(target == 1), np.repeat(np.flatnonzero(target == 0), 4)]
    share = float(target[rare].mean())
    moved = curve_of(target, probability, 0.1, 0.4, prevalence=share)
    there = curve_of(target[rare], probability[rare], 0.1, 0.4)
    np.testing.assert_allclose(moved.model[:, 0], there.model[:, 0])
    np.testing.assert_allclose(moved.treat_all[:, 0], there.treat_all[:, 0])
    assert moved.prevalence == share


def test_patients_resampled_whole_give_wider_intervals() -> None:
    target, probability = (np.repeat(one, 6) for one in example(60))
    groups = [f"p{k // 6}" for k in range(360)]
    wide, narrow = (
        decision_curve(target, probability, g, numpy_generator(1), Asked([0.4]))
        for g in (groups, None)
    )
    assert np.ptp(wide.model[0, 1:]) > 1.5 * np.ptp(narrow.model[0, 1:])


def test_json_has_a_value_with_its_ends_a_threshold() -> None:
    said = json.loads(json.dumps(curve_of(*example(), 0.2, 0.3).as_json(), allow_nan=False))
    assert said["thresholds"] == [0.2, 0.3]
    assert set(said["model"][0]) == {"value", "low", "high"}
    assert len(said["treat_all"]) == len(said["gain"]) == 2


@pytest.mark.parametrize("at", [0.0, 1.0, -0.5, float("nan")])
def test_threshold_without_odds_is_refused(at: float) -> None:
    with pytest.raises(DataError, match="numbers above 0 and below 1"):
        curve_of(*example(), at)


def test_prevalence_that_is_no_share_is_refused() -> None:
    with pytest.raises(DataError, match=r"A prevalence of 1\.5"):
        curve_of(*example(), prevalence=1.5)


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="both classes are needed"):
        curve_of(np.ones(5, int), np.full(5, 0.5))
