from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covidssl.realism.descriptors import BINS_HU, NAMES, PROFILE_MM, Described
from covidssl.realism.two_sample import alone, distances, dividing_hu, interval, resample


def group(seed: int, shift: float = 0.0, n: int = 80) -> Described:
    rng = np.random.default_rng(seed)
    hu = rng.normal(-400 + shift, 60, (n, 200))
    around = rng.normal(-800, 40, (n, 200))
    shares = [
        np.stack([np.histogram(row, BINS_HU)[0] / len(row) for row in values])
        for values in (hu, around)
    ]
    values = rng.normal(0, 1, (n, len(NAMES)))
    values[:, NAMES.index("inside_hu")] = np.median(hu, axis=1)
    profile = np.zeros((n, len(PROFILE_MM)))
    return Described(values, shares[0], shares[1], profile, 100 + np.arange(n) // 10)


def test_a_group_is_at_no_distance_from_itself() -> None:
    one = group(0)
    found = distances(one, one, 20, (0,))
    assert all(estimate is not None and estimate.value == 0 for estimate in found.values())


def test_a_shift_of_density_is_the_distance() -> None:
    found = distances(group(0), group(1, shift=120.0), 50, (0,))
    for name in ("inside", "inside_hu"):
        estimate = found[name]
        assert estimate is not None
        assert estimate.value == pytest.approx(120, abs=12)
        assert estimate.low <= estimate.value <= estimate.high
    ring = found["ring"]
    assert ring is not None
    assert ring.value < 12


@pytest.mark.parametrize("shift", [0.0, 10.0, 120.0])
def test_every_interval_holds_its_estimate_and_ends_at_0_or_above(shift: float) -> None:
    for estimate in distances(group(0), group(1, shift), 50, (0,)).values():
        assert estimate is not None
        assert 0 <= estimate.low <= estimate.value <= estimate.high


def test_groups_that_are_alike_may_be_at_no_distance() -> None:
    for seed in range(3):
        found = distances(group(2 * seed), group(2 * seed + 1), 50, (seed,))
        lows = [estimate.low for estimate in found.values() if estimate is not None]
        assert len(lows) == len(found)
        # Five in a hundred intervals miss what they should hold.
        assert sum(low > 0 for low in lows) <= 1


def test_the_bias_of_resampling_is_taken_off_the_lower_end() -> None:
    drawn = [float(number) for number in range(100, 141)] + [float("nan")]
    assert interval(120.0, drawn) == pytest.approx((120.0, (2 * 120**2 - 139**2) ** 0.5, 139.0))
    # All resamples above the estimate: what they show is bias, not a larger distance.
    assert interval(40.0, drawn) == (40.0, 0.0, 139.0)
    assert interval(150.0, drawn) == (150.0, 101.0, 150.0)


@pytest.mark.parametrize("true", [0.0, 40.0])
def test_intervals_hold_the_distance_of_what_the_groups_were_drawn_from(true: float) -> None:
    # Over few clusters any bootstrap is too sure: two dozen of them.
    held = 0
    for seed in range(30):
        pair = group(seed, n=240), group(100 + seed, true, n=240)
        found = distances(*pair, 60, (seed,))["inside_hu"]
        assert found is not None
        held += found.low <= true <= found.high
    assert held >= 26


def test_the_same_key_gives_the_same_intervals() -> None:
    pair = group(0), group(1, shift=50.0)
    assert distances(*pair, 20, (3,)) == distances(*pair, 20, (3,))
    assert distances(*pair, 20, (3,)) != distances(*pair, 20, (4,))


def test_few_lesions_give_no_distance() -> None:
    few = group(0, n=3)
    assert set(distances(few, group(1), 5, (0,)).values()) == {None}


def test_what_cannot_be_measured_is_left_out() -> None:
    values = group(0).values.copy()
    values[::2, 0] = np.nan
    found = distances(replace(group(0), values=values), group(1), 20, (0,))[NAMES[0]]
    assert found is not None
    assert np.isfinite(found).all()


def test_resampling_takes_whole_clusters_and_every_case() -> None:
    cluster = np.array([101] * 3 + [102] * 5 + [301] * 4)
    rows = resample(cluster, np.random.default_rng(0))
    counts = np.bincount(rows, minlength=len(cluster))
    for number in np.unique(cluster):
        assert len(set(counts[cluster == number])) == 1
    assert set(cluster[rows] // 100) == {1, 3}


def test_a_descriptor_alone_tells_the_direction() -> None:
    found = alone(group(0), group(1, shift=200.0))
    assert found["inside_hu"] == 1.0
    assert found["depth_mm"] == pytest.approx(0.5, abs=0.12)


def test_the_dividing_density_lies_between_lesion_and_lung() -> None:
    assert -700 < dividing_hu(group(0)) < -500
