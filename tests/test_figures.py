"""What a figure promises: a readable PNG, drawn from the numbers given, and no trace elsewhere."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from covidssl.errors import DataError
from covidssl.figures import (
    Arm,
    Rated,
    comparison_figure,
    confusion_figure,
    decision_figure,
    pr_figure,
    reliability_figure,
    restoration_picture,
    roc_figure,
    training_curve,
)
from covidssl.metrics import Bins, Estimate, decision_curve, reliability
from covidssl.randomness import numpy_generator

TARGET = np.repeat([0, 1], 50)
PROBABILITY = np.clip(0.3 + 0.3 * TARGET + 0.2 * numpy_generator(1).normal(size=100), 0, 1)
RIVAL = np.clip(0.4 + 0.1 * TARGET + 0.2 * numpy_generator(2).normal(size=100), 0, 1)
AREA = Estimate(0.9, 0.85, 0.94)
CURVE = decision_curve(TARGET, PROBABILITY, None, numpy_generator(3))
CALIBRATED = reliability(TARGET, PROBABILITY, None, numpy_generator(3))
RATED = [Rated("model", PROBABILITY, AREA), Rated("trivial rival", RIVAL)]

FIGURES: dict[str, Callable[[], bytes]] = {
    "roc": lambda: roc_figure(TARGET, RATED, 0.5),
    "pr": lambda: pr_figure(TARGET, RATED, 0.5),
    "decision": lambda: decision_figure(CURVE),
    "reliability with numbers": lambda: reliability_figure(TARGET, PROBABILITY, found=CALIBRATED),
    "confusion": lambda: confusion_figure(TARGET, PROBABILITY, 0.5),
    "reliability": lambda: reliability_figure(TARGET, PROBABILITY),
    "training": lambda: training_curve(range(200), PROBABILITY.repeat(2), ([0, 100], [0.5, 0.4])),
    "comparison": lambda: comparison_figure([Arm("scratch", 0.1, AREA), Arm("ours", 1.0, AREA)]),
}


def opened(png: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_a_png_sharp_at_600_pixels(name: str) -> None:
    assert 1000 <= opened(FIGURES[name]()).shape[1] <= 1400


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_at_the_border(name: str) -> None:
    pixels = opened(FIGURES[name]())
    border = np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    assert (border == 255).all()


def test_long_name_of_an_arm_is_not_cut_off() -> None:
    rows = [Arm("an arm whose name says everything about it", 0.013, Estimate(0.97, 0.9, 1.0))]
    pixels = opened(comparison_figure(rows))
    assert (np.concatenate((pixels[:, 0], pixels[:, -1])) == 255).all()


@pytest.mark.parametrize("name", FIGURES)
def test_same_numbers_give_the_same_bytes(name: str) -> None:
    assert FIGURES[name]() == FIGURES[name]()


def test_drawing_leaves_no_style_and_no_pyplot_behind() -> None:
    before = dict(mpl.rcParams)
    for draw in FIGURES.values():
        draw()
    assert dict(mpl.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_operating_point_is_drawn_when_given() -> None:
    assert roc_figure(TARGET, RATED, 0.5) != roc_figure(TARGET, RATED)
    assert pr_figure(TARGET, RATED, 0.5) != pr_figure(TARGET, RATED)


def test_threshold_that_calls_nothing_positive_still_gives_a_figure() -> None:
    assert opened(pr_figure(TARGET, RATED, 1.1)).size
    assert opened(confusion_figure(TARGET, PROBABILITY, 1.1)).size


def test_better_classifier_gives_another_curve() -> None:
    assert roc_figure(TARGET, RATED[:1]) != roc_figure(TARGET, RATED[1:])


def test_shading_follows_the_share_of_the_true_class() -> None:
    def blue_pixels(probability: NDArray[np.floating]) -> int:
        pixels = opened(confusion_figure(TARGET, probability, 0.5)).astype(int)
        return int((abs(pixels - (0x00, 0x72, 0xB2)).sum(axis=2) < 6).sum())

    assert blue_pixels(TARGET * 1.0) > 100_000
    assert blue_pixels(np.where(np.arange(100) % 2, 0.1, 0.9)) == 0


def test_dollar_signs_in_names_are_letters() -> None:
    assert opened(comparison_figure([Arm("$\\broken{", 1.0, AREA)])).size
    assert opened(roc_figure(TARGET, [Rated("$\\broken{", PROBABILITY, AREA)])).size


def test_probabilities_of_exactly_zero_and_one_have_a_bin() -> None:
    assert opened(reliability_figure(np.array([0, 1]), np.array([0.0, 1.0]))).size


def test_bins_of_the_reliability_figure_may_hold_equal_counts() -> None:
    by_count = reliability_figure(TARGET, PROBABILITY, Bins(5, "count"))
    assert by_count != reliability_figure(TARGET, PROBABILITY, Bins(5))


def test_decision_curve_of_another_classifier_is_another_figure() -> None:
    other = decision_curve(TARGET, RIVAL, None, numpy_generator(3))
    assert decision_figure(CURVE) != decision_figure(other)


def test_comparison_grows_with_its_rows() -> None:
    few = comparison_figure([Arm("a", 1.0, AREA)])
    many = comparison_figure([Arm(f"arm {i}", f, AREA) for i in range(5) for f in (0.1, 1.0)])
    assert opened(many).shape[0] > 2 * opened(few).shape[0]


def test_one_step_is_enough_for_a_curve() -> None:
    one, other = training_curve([1], [0.5]), training_curve([1], [0.5], ([1], [0.6]))
    assert one != other


def test_curve_with_missing_values_is_refused() -> None:
    with pytest.raises(DataError, match="1 values for 2 steps"):
        training_curve([1, 2], [0.5])


def test_empty_comparison_is_refused() -> None:
    with pytest.raises(DataError, match="at least one row"):
        comparison_figure([])


def test_the_restoration_picture_is_a_png() -> None:
    flat = torch.full((2, 1, 32, 32), 0.3)
    columns = {"corrupted": flat, "restored": flat, "clean": flat}
    assert restoration_picture(columns).startswith(b"\x89PNG")


def test_the_restoration_picture_of_volumes_shows_slices() -> None:
    flat = torch.full((2, 1, 8, 32, 32), 0.3)
    columns = {"corrupted": flat, "restored": flat, "clean": flat}
    assert restoration_picture(columns).startswith(b"\x89PNG")
