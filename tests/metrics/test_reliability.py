"""What the numbers of calibration promise."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve

from covidssl.errors import DataError
from covidssl.metrics import Bins, Reliability, reliability, reliability_curve
from covidssl.randomness import numpy_generator


def example(n: int = 400, scale: float = 1.0, shift: float = 0.0) -> tuple[NDArray, NDArray]:
    """Honest log odds, and probabilities that are `scale` times as sure of themselves."""
    generator = numpy_generator(31)
    honest = 1.5 * generator.normal(size=n)
    target = (generator.random(n) < expit(honest)).astype(int)
    return target, expit(scale * honest + shift)


def judged(
    target: NDArray, probability: NDArray, group: list[str] | None = None, **options: object
) -> Reliability:
    settings = {"generator": numpy_generator(32), "rounds": 200}
    return reliability(target, probability, group, **{**settings, **options})


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (3.0, 1.0), (0.4, -0.5)])
def test_slope_and_intercept_agree_with_statsmodels(scale: float, shift: float) -> None:
    target, probability = example(scale=scale, shift=shift)
    odds = logit(np.clip(probability, 1e-6, 1 - 1e-6))
    family = sm.families.Binomial()
    slope = sm.GLM(target, sm.add_constant(odds), family=family).fit().params[1]
    ones = np.ones((len(target), 1))
    intercept = sm.GLM(target, ones, family=family, offset=odds).fit().params[0]
    found = judged(target, probability)
    assert found.slope.value == pytest.approx(slope, abs=1e-5)
    assert found.intercept.value == pytest.approx(intercept, abs=1e-5)


@pytest.mark.parametrize("bins", [Bins(), Bins(7), Bins(15)])
def test_calibration_error_agrees_with_torchmetrics(bins: Bins) -> None:
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    target, probability = example(scale=2.0)
    given, labels = torch.tensor(probability), torch.tensor(target)
    expected = float(binary_calibration_error(given, labels, n_bins=bins.number, norm="l1"))
    found = judged(target, probability, bins=bins)
    assert found.ece.value == pytest.approx(expected, abs=1e-6)
    assert found.bins == f"{bins.number} bins of equal width"


@pytest.mark.parametrize(("by", "strategy"), [("width", "uniform"), ("count", "quantile")])
def test_curve_agrees_with_scikit_learn(by: str, strategy: str) -> None:
    target, probability = example()
    share, mean = calibration_curve(target, probability, n_bins=8, strategy=strategy)
    curve = reliability_curve(target, probability, Bins(8, by))
    assert [one.share for one in curve] == pytest.approx(share)
    assert [one.probability for one in curve] == pytest.approx(mean)
    assert sum(one.n for one in curve) == len(target)


def test_error_of_bins_of_equal_count_is_the_mean_gap() -> None:
    target, probability = example(scale=2.0)
    bins = Bins(5, "count")
    curve = reliability_curve(target, probability, bins)
    assert [one.n for one in curve] == [80] * 5
    gaps = [abs(one.share - one.probability) for one in curve]
    found = judged(target, probability, bins=bins)
    assert found.ece.value == pytest.approx(np.mean(gaps))
    assert found.bins == "5 bins of equal count"


def test_honest_probabilities_are_found_so() -> None:
    found = judged(*example(2000))
    assert found.slope.low < 1 < found.slope.high
    assert found.intercept.low < 0 < found.intercept.high
    assert found.ece.value < 0.04


def test_overconfidence_lowers_the_slope_and_too_high_ones_the_intercept() -> None:
    found = judged(*example(scale=4.0, shift=2.0))
    assert found.slope.high < 0.5
    assert found.intercept.high < 0


def test_slopes_of_resamples_are_those_of_statsmodels() -> None:
    target, probability = example(60, scale=2.0)
    weights = numpy_generator(5).multinomial(60, np.full(60, 1 / 60), size=4).astype(float)
    from covidssl.metrics.reliability import _intercepts, _slopes

    odds, labels = logit(probability), target == 1
    slopes = _slopes(weights, labels, odds, np.array([0.0, 1.0]))
    family = sm.families.Binomial()
    for row, slope, intercept in zip(
        weights, slopes, _intercepts(weights, labels, odds), strict=True
    ):
        design = sm.add_constant(odds)
        fitted = sm.GLM(target, design, family=family, freq_weights=row).fit()
        assert slope == pytest.approx(fitted.params, abs=1e-5)
        large = sm.GLM(target, np.ones(60), family=family, freq_weights=row, offset=odds).fit()
        assert intercept == pytest.approx(large.params[0], abs=1e-5)


def test_intervals_by_patient_are_wider() -> None:
    target, probability = (np.repeat(one, 6) for one in example(60))
    patients = [f"p{k // 6}" for k in range(360)]
    by_entry, by_patient = judged(target, probability), judged(target, probability, patients)
    for name, one in by_entry.estimates().items():
        other = by_patient.estimates()[name]
        assert other.high - other.low > 1.5 * (one.high - one.low), name


def test_separated_classes_have_no_slope_and_that_is_said() -> None:
    target = np.repeat([0, 1], 20)
    found = judged(target, 0.2 + 0.6 * target)
    assert "slope" not in found.estimates()
    assert "No calibration slope" in found.cautions[-1]
    assert np.isfinite(found.intercept).all()


def test_classes_parted_the_wrong_way_round_have_no_slope_either() -> None:
    target = np.repeat([0, 1], 20)
    assert "slope" not in judged(target, 0.8 - 0.6 * target).estimates()


def test_equal_probabilities_have_no_slope() -> None:
    target = np.repeat([0, 1], (30, 10))
    found = judged(target, np.full(40, 0.5))
    assert "slope" not in found.estimates()
    assert found.intercept.value == pytest.approx(logit(0.25))
    assert found.ece.value == pytest.approx(0.25)


def test_slopes_that_resampling_often_cannot_give_are_pointed_out() -> None:
    target = np.repeat([0, 1], 10)
    probability = np.linspace(0.1, 0.9, 20)
    probability[[9, 10]] = probability[[10, 9]]
    found = judged(target, probability)
    assert any("of the resamples the calibration slope is undefined" in c for c in found.cautions)


def test_probabilities_of_exactly_zero_and_one_are_taken_inward_and_counted() -> None:
    target, probability = example(200)
    probability[:3] = (0.0, 1.0, 1.0)
    found = judged(target, probability)
    assert "3 probabilities are nearer than 1e-06 to 0 or 1" in found.cautions[-1]
    assert all(np.isfinite(one).all() for one in found.estimates().values())


def test_outlying_log_odds_do_not_throw_the_slope_off() -> None:
    generator = numpy_generator(0)
    target = generator.integers(0, 2, 200)
    probability = np.clip(0.4 + 0.2 * target + 0.2 * generator.normal(size=200), 0, 1)
    found = judged(target, np.round(probability, 2), rounds=1000)
    assert not any("undefined" in caution for caution in found.cautions)


def test_no_bins_are_refused() -> None:
    with pytest.raises(DataError, match="0 bins"):
        judged(*example(40), bins=Bins(0))


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="both classes are needed"):
        judged(np.ones(4, int), np.full(4, 0.5))
