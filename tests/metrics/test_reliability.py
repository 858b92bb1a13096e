"""What the numbers of calibration promise."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve

from covidssl.errors import DataError
from covidssl.metrics import Bins, CalibrationError, Reliability, reliability, reliability_curve
from covidssl.metrics.binned import calibration_error
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


def test_curve_and_error_count_the_same_entries_at_the_edges_of_bins() -> None:
    target = np.tile([0, 1], 20)
    on_edges = np.tile([0.0, 0.1, 0.3, 0.6, 0.7, 1.0, 0.29, 0.59], 5)
    # A bin holds its lower edge; 3 * 0.1, 6 * 0.1 and 29 * 0.01 are not what a table reads.
    assert Bins().of(on_edges[:8]).tolist() == [0, 1, 3, 6, 7, 9, 2, 5]
    curve = reliability_curve(target, on_edges)
    assert [one.n for one in curve] == [5, 5, 5, 5, 5, 5, 5, 5]
    gaps = [one.n * abs(one.share - one.probability) for one in curve]
    assert judged(target, on_edges).ece.value == pytest.approx(sum(gaps) / 40)


@pytest.mark.parametrize("number", [10, 15, 49, 100])
def test_every_lower_edge_lies_in_its_own_bin(number: int) -> None:
    edges = np.array([k / number for k in range(number)])
    assert Bins(number).of(edges).tolist() == list(range(number))
    assert Bins(number).of(np.nextafter(edges[1:], 0)).tolist() == list(range(number - 1))


def test_intervals_by_patient_are_wider() -> None:
    target, probability = (np.repeat(one, 6) for one in example(60))
    patients = [f"p{k // 6}" for k in range(360)]
    by_entry, by_patient = judged(target, probability), judged(target, probability, patients)
    for name, one in by_entry.intervals().items():
        other = by_patient.intervals()[name]
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


# The calibration error against chance


def error_of(
    target: NDArray, probability: NDArray, patients: NDArray, seed: int
) -> CalibrationError:
    case = (target == 1, probability)
    return calibration_error(case, patients, numpy_generator(seed), Bins(), 200)


def of_patients(seed: int, sure: float = 1.0) -> tuple[NDArray, NDArray, NDArray]:
    """Five scans of each of 40 patients, of one label a patient; honest where `sure` is 1."""
    generator = numpy_generator(seed, 77)
    patients = np.repeat(np.arange(40), 5)
    target = generator.integers(0, 2, 40)[patients]
    seen = 1.5 * target + np.sqrt(0.5) * generator.normal(size=40)[patients]
    seen = seen + np.sqrt(0.5) * generator.normal(size=200)
    return target, expit(sure * (1.5 * seen - 1.5**2 / 2)), patients


def test_honest_probabilities_are_called_off_no_more_often_than_said() -> None:
    low = [error_of(*of_patients(seed), seed).as_large <= 0.05 for seed in range(150)]
    # 5 % of 150 is 7.5, with a standard deviation of 2.7; scans drawn one by one give 40.
    assert 1 <= sum(low) <= 17


def test_probabilities_that_are_too_sure_are_beyond_chance() -> None:
    found = [error_of(*of_patients(seed, sure=3.0), seed) for seed in range(20)]
    assert np.mean([one.as_large <= 0.05 for one in found]) > 0.8
    assert all(one.value > one.by_chance for one in found)


def test_error_by_chance_is_the_one_that_honest_sets_have() -> None:
    found = [error_of(*of_patients(seed), seed) for seed in range(150)]
    by_chance = np.mean([one.by_chance for one in found])
    assert np.mean([one.value for one in found]) == pytest.approx(by_chance, rel=0.08)


def test_draws_of_labels_are_written_out() -> None:
    target, probability = example(50)
    generator = numpy_generator(32)
    generator.integers(0, 50, (200, 50), dtype=np.int32)  # the bootstrap's, before
    edges = np.arange(1, 10) / 10
    which = np.searchsorted(edges, probability, side="right")

    def error(labels: NDArray) -> float:
        gaps = [np.sum((labels - probability)[which == k]) for k in range(10)]
        return float(np.abs(gaps).sum() / 50)

    drawn = [error(row < probability) for row in generator.random((200, 50))]
    as_large = (1 + np.sum(np.array(drawn) >= error(target))) / 201
    expected = CalibrationError(error(target), float(np.mean(drawn)), as_large)
    assert judged(target, probability).ece == pytest.approx(expected)


def test_a_group_is_drawn_as_one() -> None:
    # Two patients, each sure to be half right: all labels equal, or one of each.
    target, patients = np.repeat([0, 1], 50), np.repeat([0, 1], 50)
    found = error_of(target, np.full(100, 0.5), patients, 1)
    assert found.by_chance == pytest.approx(0.25, abs=0.06)
    assert (found.value, found.as_large) == (0.0, 1.0)


def test_words_say_that_it_has_no_interval_but_a_chance() -> None:
    assert CalibrationError(0.0512, 0.0404, 0.3).words == (
        "0.051; if calibrated 0.040 on average, and as large or larger by chance in 30.0%"
    )
