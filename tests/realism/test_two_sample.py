from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covidssl.realism.descriptors import BINS_HU, NAMES, PROFILE_MM, Described
from covidssl.realism.two_sample import alone, distances, dividing_hu, resample


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
