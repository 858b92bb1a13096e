"""What calibration and the operating point promise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import roc_curve

from covidssl.calibration import DEFAULT_POINT, Calibration, fit_calibration, youden_point
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
