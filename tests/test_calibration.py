"""What calibration and the operating point promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss, roc_auc_score, roc_curve

from covidssl.calibration import (
    DEFAULT_POINT,
    Calibration,
    CostPoint,
    SensitivityPoint,
    YoudenPoint,
    fit_calibration,
    one_sided,
    youden_point,
)
from covidssl.errors import DataError
from covidssl.randomness import numpy_generator


def example(n: int = 4000) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Logits that are four times too sure of themselves, and shifted."""
    generator = numpy_generator(3)
    honest = 2 * generator.normal(size=n)
    target = (generator.random(n) < expit(honest)).astype(int)
    return 4 * honest + 3, target


def test_calibration_undoes_a_known_distortion() -> None:
    found = fit_calibration(*example())
    assert found.scale == pytest.approx(0.25, rel=0.1)
    assert found.bias == pytest.approx(-0.75, abs=0.12)
    assert found.reason is None


def test_calibrated_probability_means_the_share_of_positives() -> None:
    logits, target = example()
    probability = fit_calibration(logits, target).probability(logits)
    for low in (0.1, 0.4, 0.7):
        chosen = (probability >= low) & (probability < low + 0.2)
        assert target[chosen].mean() == pytest.approx(probability[chosen].mean(), abs=0.06)


def test_calibration_keeps_the_order_of_scans() -> None:
    logits, target = example(100)
    probability = fit_calibration(logits, target).probability(logits)
    assert (np.argsort(probability, kind="stable") == np.argsort(logits, kind="stable")).all()


def test_separable_validation_does_not_explode() -> None:
    target = np.repeat([0, 1], 20)
    found = fit_calibration(np.where(target, 1.0, -1.0) + np.linspace(0, 0.1, 40), target)
    assert 0 < found.scale < 10
    assert 0.9 < found.probability(1.0) < 0.99


@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_fit_does_not_depend_on_the_unit_of_the_logits(size: float) -> None:
    logits, target = example(500)
    expected = fit_calibration(logits, target).probability(logits)
    found = fit_calibration(logits * size, target).probability(logits * size)
    assert found == pytest.approx(expected, abs=1e-3)


def test_small_validation_leaves_the_logit_alone_and_says_so() -> None:
    found = fit_calibration(np.arange(29.0), np.repeat([0, 1], (20, 9)))
    assert (found.scale, found.bias) == (1.0, 0.0)
    assert found.reason is not None
    assert "9 positive and 20 negative" in found.reason


def test_constant_logits_are_left_alone() -> None:
    found = fit_calibration(np.full(40, 0.3), np.repeat([0, 1], 20))
    assert found.reason is not None
    assert "equal" in found.reason


def test_network_worse_than_chance_is_not_turned_round() -> None:
    logits, target = example(400)
    found = fit_calibration(-logits, target)
    assert (found.scale, found.bias) == (1.0, 0.0)
    assert found.reason is not None
    assert "learnt nothing" in found.reason


def test_huge_logits_give_probabilities_without_overflow() -> None:
    assert Calibration(2.0, 1.0).probability(np.array([-1e4, 0.0, 1e4])) == pytest.approx(
        [0.0, expit(1.0), 1.0]
    )


def test_logits_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 logits are not finite"):
        fit_calibration(np.array([0.0, np.nan]), np.array([0, 1]))


def test_labels_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="do not fit"):
        fit_calibration(np.zeros(3), np.array([0, 1]))


# Temperature


def test_temperature_is_the_one_of_least_loss() -> None:
    logits, target = example()
    logits = logits - 3  # no shift, which a temperature cannot undo
    peer = minimize_scalar(
        lambda scale: log_loss(target, expit(scale * logits)), bounds=(0.01, 5), method="bounded"
    )
    found = fit_calibration(logits, target, "temperature")
    assert found.scale == pytest.approx(peer.x, rel=0.01)
    assert found.scale == pytest.approx(0.25, rel=0.1)
    assert (found.bias, found.kind, found.knots) == (0.0, "temperature", ())


def test_temperature_leaves_the_even_logit_even() -> None:
    assert fit_calibration(*example(400), "temperature").probability(0.0) == 0.5


def test_logits_far_off_zero_have_no_temperature_and_that_is_said() -> None:
    target = np.repeat([0, 1], (30, 70))
    found = fit_calibration(np.linspace(-1010, -990, 100), target, "temperature")
    assert found.reason is not None
    assert "no temperature above 0 fits" in found.reason


# Isotonic


def test_isotonic_curve_goes_through_the_middle_of_every_step_of_scikit_learn() -> None:
    logits, target = example(500)
    found = fit_calibration(logits, target, "isotonic")
    soft = np.where(target, (target.sum() + 1) / (target.sum() + 2), 1 / ((1 - target).sum() + 2))
    steps = IsotonicRegression().fit_transform(logits, soft)
    for logit, probability in found.knots:
        inside = np.isclose(steps, probability, atol=1e-9)
        assert logit == pytest.approx(logits[inside].mean())
    assert len(found.knots) == len(np.unique(np.round(steps, 12)))


def test_isotonic_probability_never_falls_and_is_never_sure() -> None:
    found = fit_calibration(*example(500), "isotonic")
    given = found.probability(np.linspace(-100, 100, 5001))
    assert (np.diff(given) >= 0).all()
    assert 0 < given[0] < given[-1] < 1


def test_isotonic_keeps_the_area() -> None:
    logits, target = example(2000)
    found = fit_calibration(logits, target, "isotonic")
    before, after = roc_auc_score(target, logits), roc_auc_score(target, found.probability(logits))
    # At both ends scans are tied.
    assert after == pytest.approx(before, abs=0.01)


def test_isotonic_undoes_what_no_scale_can() -> None:
    generator = numpy_generator(4)
    share = generator.random(4000)
    target = (generator.random(4000) < np.where(share < 0.5, 0.1, 0.8)).astype(int)
    logits = 10 * (share - 0.5)
    found = fit_calibration(logits, target, "isotonic")
    assert found.probability(np.array([-4.0, -2.0])) == pytest.approx([0.1, 0.1], abs=0.06)
    assert found.probability(np.array([2.0, 4.0])) == pytest.approx([0.8, 0.8], abs=0.06)


def test_isotonic_of_separated_classes_has_two_knots() -> None:
    target = np.repeat([0, 1], 60)
    found = fit_calibration(np.linspace(-1, 1, 120), target, "isotonic")
    np.testing.assert_allclose(found.knots, [(-0.504, 1 / 62), (0.504, 61 / 62)], atol=0.001)


def test_few_entries_are_no_isotonic_curve_and_that_is_said() -> None:
    logits, target = example(99)
    found = fit_calibration(logits, target, "isotonic")
    assert found.reason is not None
    assert "99 entries, and isotonic regression needs 100" in found.reason
    assert found.probability(logits) == pytest.approx(expit(logits))


@pytest.mark.parametrize("kind", ["platt", "temperature", "isotonic"])
def test_what_cannot_be_fitted_is_left_alone_by_every_kind(kind: str) -> None:
    logits, target = example(400)
    for values, labels in (
        (-logits, target),
        (np.full(400, 0.3), target),
        (logits[:15], np.repeat([0, 1], (10, 5))),
    ):
        found = fit_calibration(values, labels, kind)
        assert found.reason is not None
        assert (found.kind, found.probability(0.7)) == (kind, pytest.approx(expit(0.7)))


@given(
    st.lists(st.integers(-50, 50), min_size=100, max_size=130),
    st.sampled_from(["platt", "temperature", "isotonic"]),
    st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_any_logits_give_a_curve_that_never_falls(logits: list[int], kind: str, seed: int) -> None:
    values = np.array(logits) / 10
    target = (numpy_generator(seed).random(len(values)) < expit(values)).astype(int)
    found = fit_calibration(values, target, kind)
    assert found.fault() == ""
    given = found.probability(np.linspace(-9, 9, 200))
    assert (np.diff(given) >= -1e-12).all()
    assert ((given >= 0) & (given <= 1)).all()


# The operating point


def test_point_lies_midway_between_neighbouring_probabilities() -> None:
    assert youden_point(np.array([0.1, 0.2, 0.6, 0.9]), np.array([0, 0, 1, 1])) == pytest.approx(
        0.4
    )


def test_of_equally_good_points_the_more_sensitive_is_taken() -> None:
    # Both 0.25 and 0.65 reach sensitivity + specificity = 1.5.
    point = youden_point(np.array([0.2, 0.3, 0.6, 0.7]), np.array([0, 1, 0, 1]))
    assert point == pytest.approx(0.25)


def test_point_is_as_good_as_the_best_of_scikit_learn() -> None:
    logits, target = example(600)
    probability = np.round(expit(logits), 2)
    false_positive, true_positive, _ = roc_curve(target, probability)
    called = probability >= youden_point(probability, target)
    gain = called[target == 1].mean() - called[target == 0].mean()
    assert gain == pytest.approx((true_positive - false_positive).max())


def test_point_between_neighbouring_floats_still_parts_them() -> None:
    low = 0.5
    high = float(np.nextafter(low, 1))
    assert youden_point(np.array([low, high]), np.array([0, 1])) == high


@pytest.mark.parametrize(
    "probability", [[0.7, 0.7, 0.7, 0.7], [0.9, 0.8, 0.2, 0.1]], ids=["equal", "worse than chance"]
)
def test_where_no_point_helps_the_default_is_given(probability: list[float]) -> None:
    assert youden_point(np.array(probability), np.array([0, 0, 1, 1])) == DEFAULT_POINT


def test_point_without_both_classes_is_refused() -> None:
    with pytest.raises(DataError, match="operating point needs both classes"):
        youden_point(np.array([0.1, 0.2]), np.array([1, 1]))


def test_target_sensitivity_takes_the_most_specific_point_that_reaches_it() -> None:
    probability = np.array([0.1, 0.3, 0.5, 0.7, 0.2, 0.4, 0.6, 0.8])
    target = np.repeat([0, 1], 4)
    points = {t: SensitivityPoint(target=t).choose(probability, target) for t in (0.5, 0.75, 1.0)}
    assert points == pytest.approx({0.5: 0.55, 0.75: 0.35, 1.0: 0.15})


def test_target_sensitivity_agrees_with_scikit_learn() -> None:
    logits, target = example(600)
    probability = np.round(expit(logits), 2)
    false_positive, true_positive, _ = roc_curve(target, probability, drop_intermediate=False)
    called = probability >= SensitivityPoint(target=0.9).choose(probability, target)
    assert called[target == 0].mean() == pytest.approx(false_positive[true_positive >= 0.9].min())


def test_target_sensitivity_that_is_reached_exactly_counts_as_reached() -> None:
    # 1 - 4/5 is a little less than 0.2 in floating point.
    point = SensitivityPoint(target=0.2).choose(np.linspace(0.1, 0.9, 9), np.repeat([0, 1], (4, 5)))
    assert point == pytest.approx(0.85)


def test_a_probability_of_one_is_called_positive_at_any_point() -> None:
    # Calling none would be cheapest, and no threshold from 0 to 1 does.
    probability, target = np.array([0.2, 1.0, 1.0, 0.1]), np.array([0, 1, 0, 0])
    assert CostPoint(ratio=0.001).choose(probability, target) == pytest.approx(0.6)


def test_of_points_of_equal_cost_the_lowest_is_taken() -> None:
    # 0.25 and 0.65 make one error each.
    probability, target = np.array([0.2, 0.3, 0.6, 0.7]), np.array([0, 1, 0, 1])
    assert CostPoint(ratio=1.0).choose(probability, target) == pytest.approx(0.25)


@pytest.mark.parametrize("ratio", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("prevalence", [None, 0.05])
def test_no_threshold_costs_less_than_the_chosen_one(
    ratio: float, prevalence: float | None
) -> None:
    logits, target = example(200)
    probability = np.round(expit(logits / 4), 2)
    share = target.mean() if prevalence is None else prevalence

    def cost(threshold: float) -> float:
        called = probability >= threshold
        missed, alarms = 1 - called[target == 1].mean(), called[target == 0].mean()
        return ratio * share * missed + (1 - share) * alarms

    chosen = CostPoint(ratio=ratio, prevalence=prevalence).choose(probability, target)
    assert cost(chosen) == pytest.approx(min(cost(t) for t in np.linspace(0, 1.01, 300)))


def test_even_costs_of_an_honest_probability_are_least_near_their_odds() -> None:
    generator = numpy_generator(6)
    probability = generator.random(20000)
    target = (generator.random(20000) < probability).astype(int)
    for ratio in (1.0, 4.0):
        chosen = CostPoint(ratio=ratio).choose(probability, target)
        assert chosen == pytest.approx(1 / (1 + ratio), abs=0.05)


@pytest.mark.parametrize("rule", [YoudenPoint(), SensitivityPoint(), CostPoint(ratio=9.0)])
def test_every_rule_gives_a_probability_also_at_the_ends(rule: YoudenPoint) -> None:
    for probability in ([0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5]):
        point = rule.choose(np.array(probability), np.array([0, 0, 1, 1]))
        assert 0 <= point <= 1


@pytest.mark.parametrize("rule", [YoudenPoint(), SensitivityPoint(), CostPoint()])
def test_every_rule_needs_both_classes_and_numbers(rule: YoudenPoint) -> None:
    with pytest.raises(DataError, match="operating point needs both classes"):
        rule.choose(np.array([0.1, 0.2]), np.array([0, 0]))
    with pytest.raises(DataError, match="not finite"):
        rule.choose(np.array([0.1, np.nan]), np.array([0, 1]))


def test_point_that_calls_all_the_same_is_told() -> None:
    probability = np.array([0.2, 0.6])
    assert one_sided(probability, 0.4) == ""
    assert "calls every validation scan positive" in one_sided(probability, 0.2)
    assert "calls no validation scan positive" in one_sided(probability, 0.7)


@pytest.mark.parametrize(
    "knots",
    [
        ((0.0, 0.5), (1.0, 0.2)),
        ((1.0, 0.2), (1.0, 0.5)),
        ((0.0, 0.2), (1.0, 1.1)),
        ((0.0, -0.1), (1.0, 0.5)),
    ],
    ids=["falls", "stands still", "above 1", "below 0"],
)
def test_a_curve_that_is_none_is_told(knots: tuple[tuple[float, float], ...]) -> None:
    assert "rising logits and probabilities" in Calibration(kind="isotonic", knots=knots).fault()


def test_a_sigmoid_rounds_to_one_far_out_and_an_isotonic_curve_does_not() -> None:
    logits, target = example(500)
    said = {k: fit_calibration(logits, target, k).probability(1e4) for k in ("platt", "isotonic")}
    assert said["platt"] == 1.0
    assert said["isotonic"] < 1.0
