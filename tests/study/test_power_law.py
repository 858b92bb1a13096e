"""Laws of scale find themselves again, and the point that is held out has no say in them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from covidssl.randomness import numpy_generator
from pipelines.study.curves import Curve, Floats
from pipelines.study.power_law import LAWS, next_point, predict_last

AMOUNT = np.array([20.0, 40, 100, 230, 490, 950, 1840])
LAW: dict[str, Callable[[Floats], Floats]] = {
    "power law": lambda amount: 0.5 * amount**-0.25,
    "power law with a floor": lambda amount: 0.08 + 1.2 * amount**-0.7,
    "broken power law": lambda amount: 0.3 * amount**-0.075 * (1 + (amount / 150) ** 4) ** -0.1,
}


def curve(error: Floats, amount: Floats = AMOUNT, noise: float = 0.03) -> Curve:
    drawn = error * np.exp(numpy_generator(1, 9201).normal(0, noise, (60, len(error))))
    return Curve(amount, 1 - error, 1 - drawn)


@pytest.mark.parametrize("name", LAW)
def test_a_law_is_known_again_and_says_what_comes_next(name: str) -> None:
    law = LAW[name]
    told = predict_last(curve(law(AMOUNT)))
    assert told is not None
    assert told.law == name
    assert told.found.value == pytest.approx(1 - law(AMOUNT)[-1], abs=1e-12)
    assert told.said.value == pytest.approx(told.found.value, abs=0.006)
    assert told.error.value == pytest.approx(told.found.value - told.said.value, abs=1e-12)
    assert told.error.low < 0 < told.error.high

    ahead = next_point(curve(law(AMOUNT)), 3680.0)
    assert ahead is not None
    assert ahead.said.value == pytest.approx(1 - law(np.array([3680.0]))[0], abs=0.006)
    assert np.isnan(ahead.found.value)


def test_the_point_that_is_held_out_has_no_say() -> None:
    error = LAW["power law with a floor"](AMOUNT)
    other = np.append(error[:-1], 0.4)
    first, second = predict_last(curve(error)), predict_last(curve(other))
    assert first is not None
    assert second is not None
    assert (first.law, first.said) == (second.law, second.said)
    assert first.found != second.found


def test_a_point_that_leaves_the_law_is_told() -> None:
    error = LAW["power law"](AMOUNT)
    told = predict_last(curve(np.append(error[:-1], 2 * error[-1])))
    assert told is not None
    assert told.error.high < 0


def test_an_error_that_does_not_fall_is_predicted_to_stay() -> None:
    told = predict_last(curve(np.full(len(AMOUNT), 0.2), noise=0.0))
    assert told is not None
    assert told.said.value == pytest.approx(0.8, abs=1e-9)
    assert told.law == LAWS[0].name


@pytest.mark.parametrize("points", [3, 4, 5])
def test_of_few_points_only_laws_that_can_be_told_apart_are_fitted(points: int) -> None:
    told = predict_last(curve(LAW["power law"](AMOUNT)[:points], AMOUNT[:points]))
    assert told is not None
    assert told.said.value == pytest.approx(1 - LAW["power law"](AMOUNT)[points - 1], abs=1e-6)


def test_two_points_predict_nothing_and_one_point_has_no_next() -> None:
    error = LAW["power law"](AMOUNT)
    assert predict_last(curve(error[:2], AMOUNT[:2])) is None
    assert next_point(curve(error[:1], AMOUNT[:1]), 100.0) is None


def test_resamples_that_lack_a_class_are_left_aside() -> None:
    whole = curve(LAW["power law"](AMOUNT))
    holed = whole.drawn.copy()
    holed[7, 2] = np.nan
    told = predict_last(Curve(AMOUNT, whole.value, holed))
    assert told is not None
    assert np.isfinite([*told.said, *told.found, *told.error]).all()
