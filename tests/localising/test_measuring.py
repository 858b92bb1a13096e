"""Measures of pixels: what they are, and that whole runs of slices are resampled."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from pipelines.localising.cases import Marked
from pipelines.localising.measuring import best_threshold, difference, measure

PIXELS, RUNS = 6000, 12


def scored(strength: float) -> tuple[NDArray[np.float32], Marked]:
    rng = np.random.default_rng(3)
    lesion = rng.random(PIXELS) < 0.1
    score = rng.normal(size=PIXELS) + strength * lesion
    return score.astype(np.float32), Marked(lesion, np.arange(PIXELS) * RUNS // PIXELS)


def test_values_are_those_of_all_pixels_and_lie_within_their_intervals() -> None:
    score, marked = scored(2.0)
    found = measure(score, marked, 1.0)
    assert found.auroc.value == roc_auc_score(marked.lesion, score)
    assert found.ap.value == average_precision_score(marked.lesion, score)
    for one in (found.auroc, found.ap, found.dice, found.best_dice):
        assert one is not None
        assert one.low < one.value < one.high


def test_resamples_say_what_all_pixels_say_where_every_run_is_alike() -> None:
    score, marked = scored(2.0)
    score, lesion = np.tile(score, RUNS), np.tile(marked.lesion, RUNS)
    found = measure(score, Marked(lesion, np.repeat(np.arange(RUNS), PIXELS)), 1.0)
    for one in (found.auroc, found.ap, found.dice, found.best_dice):
        assert one is not None
        assert one.low == pytest.approx(one.high)
        assert one.low == pytest.approx(one.value, abs=2e-3)


def test_dice_counts_what_lies_above_the_threshold() -> None:
    lesion = np.array([True, True, False, False] * 50)
    score = np.array([0.9, 0.2, 0.8, 0.1] * 50, dtype=np.float32)
    found = measure(score, Marked(lesion, np.repeat(np.arange(10), 20)), 0.5)
    assert found.dice is not None
    assert found.dice.value == 0.5
    assert found.dice.low == found.dice.high == 0.5
    assert measure(score, Marked(lesion, np.zeros(200, np.int64)), None).dice is None


def test_the_threshold_parts_what_can_be_parted() -> None:
    score = np.array([0.1, 0.2, 0.3, 0.8, 0.9], dtype=np.float32)
    threshold, dice = best_threshold(score, score > 0.5)
    assert dice == 1
    assert 0.3 < threshold < 0.8


def test_a_threshold_does_not_part_equal_scores() -> None:
    """Four pixels at one, two of them marked: they are called together, so that Dice is 2 / 3."""
    score = np.array([1, 1, 1, 1, 0, 0], dtype=np.float32)
    marked = np.array([True, True, False, False, False, False])
    threshold, dice = best_threshold(score, marked)
    called = score > threshold
    assert called.sum() == 4
    assert dice == pytest.approx(2 / 3) == 2 * (called & marked).sum() / (4 + 2)


def test_a_difference_is_paired() -> None:
    """A score and itself on the same resamples: no difference in any of them."""
    score, marked = scored(2.0)
    better, found = measure(score, marked, None), measure(scored(1.0)[0], marked, None)
    assert difference(found, found) == (0, 0, 0)
    assert difference(better, found).low > 0


def test_resamples_without_a_marked_pixel_are_left_out() -> None:
    score, marked = scored(2.0)
    lesion = marked.lesion & (marked.run == 0)
    found = measure(score, Marked(lesion, marked.run), None)
    assert 0 < len(found.drawn_ap) < 1000
    assert np.isfinite(found.drawn_ap).all()
