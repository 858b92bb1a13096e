"""Metal: hardening that saturates, photons that are counted, streaks that reach far."""

from __future__ import annotations

import numpy as np
import pytest

from covidssl.altering import DoesNotApplyError
from covidssl.robustness.kinds import KINDS, Corruption
from covidssl.robustness.metal import (
    FEWEST_PHOTONS,
    Rod,
    back_projected,
    seen_path,
    starved_variance,
    streaks_hu,
)
from covidssl.robustness.scale import Scale
from tests.robustness.scans import KEY, chest, volume, with_lungs

SQUARE = Scale(1.0, 2.0, 2.0, False)


def drawn(*seeds: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in seeds]


@pytest.mark.parametrize(("mm", "deficit"), [(2, 0.22), (3, 0.34), (5, 0.55), (8, 0.80)])
def test_two_rods_in_line_seem_shorter_than_each_alone(mm: float, deficit: float) -> None:
    """Deficits of a spectrum of 120 kV with the attenuations of NIST, energy by energy."""
    assert 2 * seen_path(mm) - seen_path(2 * mm) == pytest.approx(deficit, abs=0.01)


def test_more_steel_never_seems_to_be_less() -> None:
    path = seen_path(np.linspace(0, 60, 600))
    assert path[0] == pytest.approx(0, abs=1e-3)
    assert (np.diff(path) > 0).all()
    assert (np.diff(path, 2) < 1e-12).all()


def test_noise_behind_steel_has_a_bound() -> None:
    variance = starved_variance(np.array([0.0, 2.0, 10.0, 100.0, 1000.0]), 1.0)
    assert variance[0] == pytest.approx(0, abs=1e-5)
    assert (np.diff(variance[:4]) > 0).all()
    assert variance[3] == variance[4] <= 1 / FEWEST_PHOTONS


def test_hardening_is_the_same_in_every_slice_and_photons_are_not() -> None:
    rods = [Rod(0.0, -20.0), Rod(0.0, 20.0)]
    one, other, again = streaks_hu(rods, 5.0, SQUARE, (64, 64), drawn(1, 2, 1))
    assert (one == again).all()
    assert (one != other).mean() > 0.99
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99


def test_many_slices_are_drawn_as_few_are() -> None:
    rods = [Rod(0.0, -20.0), Rod(0.0, 20.0)]
    many = list(streaks_hu(rods, 5.0, SQUARE, (32, 32), drawn(*range(18))))
    (last,) = streaks_hu(rods, 5.0, SQUARE, (32, 32), drawn(17))
    assert len(many) == 18
    assert (many[-1] == last).all()


def test_slices_of_a_scan_have_streaks_of_their_own() -> None:
    scan = chest()
    same = np.repeat(scan.ct.array[6:7], 12, axis=0)
    scan = with_lungs(volume(same, (10.0, 5.0, 5.0)))
    after = Corruption("metal", 5)(scan.ct, scan.lungs, KEY).array
    assert (after[5] != after[6]).mean() > 0.2


def test_dark_band_between_rods_grows_with_them_and_stays_one_of_ct() -> None:
    rods = [Rod(0.0, -20.0), Rod(0.0, 20.0)]
    dark = []
    for mm in KINDS["metal"].amounts:
        (streaks,) = streaks_hu(rods, mm, SQUARE, (128, 128), drawn(0))
        dark.append(float(streaks[62:66, 60:68].mean()))
    assert dark == sorted(dark, reverse=True)
    assert -400 < dark[-1] < -150


def test_back_projection_gives_a_disc_its_density() -> None:
    scale, radius = Scale(None, 1.0, 1.0, False), 20.0
    angles = (np.arange(180) + 0.5) * np.pi / 180
    offsets = np.arange(181) - 90.0
    chords = 2 * np.sqrt(np.clip(radius**2 - offsets**2, 0, None))
    (disc,) = back_projected(np.tile(chords, (1, 180, 1)), angles, 1.0, scale, (128, 128))
    assert disc[54:74, 54:74].mean() == pytest.approx(1.0, abs=0.02)
    assert abs(disc[:20, :20].mean()) < 0.02


def test_streaks_reach_far_beyond_the_metal() -> None:
    scan = chest(spacing_mm=(10.0, 5.0, 5.0))
    after = Corruption("metal", 5)(scan.ct, scan.lungs, KEY)
    difference = np.abs(after.array.astype(float) - scan.ct.array)
    middle = difference[6]
    assert (middle > 1000).sum() < 0.02 * middle.size
    assert (middle > 5).sum() > 0.2 * middle.size


def test_metal_finds_no_place_in_air() -> None:
    scan = with_lungs(volume(np.full((2, 64, 64), -1000, np.int16)))
    with pytest.raises(DoesNotApplyError, match="no tissue beside the lungs"):
        Corruption("metal", 1)(scan.ct, scan.lungs, KEY)
