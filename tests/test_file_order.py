"""Whether file order carries patients: found where it does, and no alarm where it does not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.file_order import order_effect
from covidssl.randomness import numpy_generator

Floats = NDArray[np.float64]


def patients(seed: int, count: int = 20, slices: int = 15, noise: float = 0.3) -> Floats:
    """Features (count * slices, 24): a patient's slices beside each other, alike but for noise."""
    generator = numpy_generator(seed)
    centre = np.repeat(generator.normal(size=(count, 24)), slices, axis=0)
    return centre + noise * generator.normal(size=centre.shape)


def both(n: int) -> NDArray[np.int64]:
    """Classes of n rows: the first half 0, the second 1."""
    return np.repeat([0, 1], [n // 2, n - n // 2])


def test_slices_of_patients_beside_each_other_are_found() -> None:
    features = patients(seed=1)
    effect = order_effect(features, both(300))
    assert effect.carries_patients
    # Of 14 others of the patient 5 or 6 stand within 3 places.
    assert effect.share_within == pytest.approx(5.6 / 14, abs=0.08)
    assert effect.chance == pytest.approx(0.04, abs=0.002)
    assert effect.p == pytest.approx(1 / 1000)
    assert 5 <= effect.reach <= 18
    assert effect.gap % 10 == 0 >= effect.reach - effect.gap


@pytest.mark.parametrize("seed", range(12))
def test_order_that_tells_nothing_gives_no_alarm(seed: int) -> None:
    order = numpy_generator(seed, 7).permutation(300)
    effect = order_effect(patients(seed)[order], both(300), seed=seed)
    assert not effect.carries_patients
    assert effect.share_within == pytest.approx(effect.chance, abs=0.05)
    assert (effect.reach, effect.gap) == (0, 0)


def test_p_is_spread_evenly_where_the_order_tells_nothing() -> None:
    values = [
        order_effect(
            numpy_generator(seed).normal(size=(60, 5)), both(60), seed=seed, permutations=99
        ).p
        for seed in range(60)
    ]
    assert 0.3 < np.mean(values) < 0.75
    assert np.mean(np.array(values) <= 0.05) < 0.15


def test_classes_that_differ_are_no_order() -> None:
    features = numpy_generator(3).normal(size=(200, 8)) + 5 * both(200)[:, None]
    effect = order_effect(features, both(200))
    assert not effect.carries_patients
    assert (both(200)[effect.nearest] == both(200)).all()


def test_neighbours_are_looked_for_within_the_class_and_counted_in_its_own_places() -> None:
    # Rows of two classes in turn: row 2 i and its neighbour 2 i + 2 are one place apart.
    features = np.repeat(numpy_generator(4).normal(size=(10, 6)), 4, axis=0)
    features = features + 0.01 * numpy_generator(5).normal(size=features.shape)
    part = np.arange(40) % 2
    effect = order_effect(features, part, permutations=199)
    assert effect.nearest[:4].tolist() == [2, 3, 0, 1]
    assert effect.median_distance == 1
    assert effect.share_within == 1


def test_chance_is_what_shuffled_orders_give() -> None:
    features = numpy_generator(6).normal(size=(50, 4))
    part = np.repeat([0, 1], [20, 30])
    expected = order_effect(features, part, permutations=1).chance
    drawn = []
    for seed in range(300):
        order = numpy_generator(seed, 1).permutation(50)
        drawn.append(order_effect(features[order], part[order], permutations=1).share_within)
    assert np.mean(drawn) == pytest.approx(expected, abs=0.02)


def test_curve_grows_to_its_share_within_and_holds_chance_beside_it() -> None:
    effect = order_effect(patients(seed=2), both(300), within=3)
    shares = [point.share for point in effect.curve]
    assert shares == sorted(shares)
    at_three = next(point for point in effect.curve if point.distance == 3)
    assert (at_three.share, at_three.chance) == (effect.share_within, effect.chance)


def test_longer_runs_of_patients_ask_for_wider_gaps() -> None:
    short, long = (
        order_effect(patients(seed=8, count=600 // n, slices=n), both(600)).reach for n in (6, 40)
    )
    assert short < 12 < long


def test_same_seed_gives_the_same_p() -> None:
    features = patients(seed=3, count=10, slices=3, noise=2.0)
    first, second = (order_effect(features, both(30), seed=5, permutations=99) for _ in range(2))
    assert first.p == second.p


@pytest.mark.parametrize(
    ("features", "part", "text"),
    [
        (np.zeros((4, 2)), np.zeros(3, int), "one class a row"),
        (np.zeros(4), np.zeros(4, int), r"features \(N, D\)"),
        (np.full((4, 2), np.nan), np.zeros(4, int), "not finite"),
        (np.zeros((4, 2)), np.array([0, 0, 1, 1]), "three pictures"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    features: Floats, part: NDArray[np.int64], text: str
) -> None:
    with pytest.raises(DataError, match=text):
        order_effect(features, part)


def test_pictures_all_alike_give_no_alarm() -> None:
    assert not order_effect(np.ones((30, 4)), both(30)).carries_patients
