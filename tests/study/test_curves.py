"""Curves are the scores of all other tables, and what is read off them is paired."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from covidssl.errors import DataError
from pipelines.study.curves import Curve, curve_of, needed
from pipelines.study.scores import pooled
from tests.study.made_records import made_found, made_images

IMAGES = made_images()
FOUNDS = {
    100.0: [made_found(IMAGES, 1.0, 3)],
    20.0: [made_found(IMAGES, 0.4, 1), made_found(IMAGES, 0.5, 2)],
}


def flat(amount: list[float], value: list[float], rounds: int = 40) -> Curve:
    return Curve(np.array(amount), np.array(value), np.tile(value, (rounds, 1)))


def test_a_curve_has_the_scores_of_the_other_tables_to_the_last_digit() -> None:
    curve = curve_of(IMAGES, FOUNDS)
    assert curve.amount.tolist() == [20.0, 100.0]
    assert curve.estimates == [pooled(IMAGES, FOUNDS[amount]) for amount in (20.0, 100.0)]
    areas = [roc_auc_score(IMAGES.target, found.chance) for found in FOUNDS[20.0]]
    assert curve.value[0] == pytest.approx(np.mean(areas), abs=1e-12)


def test_an_arm_needs_for_its_own_score_what_it_has() -> None:
    curve = curve_of(IMAGES, FOUNDS)
    assert needed(curve, curve, 0).value == 20.0
    assert needed(curve, curve, 1).value == pytest.approx(100.0)


def test_what_is_needed_lies_between_on_the_logarithm() -> None:
    slow = flat([10, 100, 1000], [0.6, 0.7, 0.9])
    fast = flat([10, 100, 1000], [0.7, 0.8, 0.95])
    assert needed(slow, fast, 0) == pytest.approx((100, 100, 100))
    assert needed(slow, fast, 1) == pytest.approx((10**2.5,) * 3)


def test_what_is_never_reached_is_infinite_and_what_always_was_is_the_least() -> None:
    slow, fast = flat([10, 100], [0.6, 0.7]), flat([10, 100], [0.65, 0.8])
    assert needed(slow, fast, 1) == (np.inf, np.inf, np.inf)
    assert needed(fast, slow, 0) == (10, 10, 10)


def test_an_interval_may_end_in_never() -> None:
    slow, fast = flat([10, 100], [0.6, 0.8]), flat([10, 100], [0.7, 0.9])
    slow.drawn[::4, 1] = 0.65
    found = needed(slow, fast, 0)
    assert found.value == pytest.approx(10**1.5)
    assert found.low == pytest.approx(10**1.5)
    assert found.high == np.inf


def test_a_dip_takes_nothing_back() -> None:
    dipped = flat([10, 20, 40, 80], [0.6, 0.8, 0.7, 0.9])
    assert needed(dipped, flat([10], [0.75]), 0).value < 20


def test_no_amount_makes_no_curve() -> None:
    with pytest.raises(DataError, match="expected one amount at least"):
        curve_of(IMAGES, {})
