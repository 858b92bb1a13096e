"""What the trivial rival sees, and that it finds a shortcut where there is one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from covidssl.errors import DataError
from covidssl.hounsfield import windowed_to_unit
from covidssl.randomness import numpy_generator
from covidssl.rivals import FEATURES, fit_rival, thumbnail_features


def pictures(brightness: NDArray[np.floating]) -> NDArray[np.float32]:
    """Features (N, 176) of noise pictures of the given brightness (N,)."""
    generator = numpy_generator(4)
    noise = generator.random((len(brightness), 24, 20)) * 0.3
    return np.stack(
        [
            thumbnail_features((n + b).astype(np.float32))
            for n, b in zip(noise, brightness, strict=True)
        ]
    )


def test_thumbnail_is_the_mean_of_each_area() -> None:
    picture = numpy_generator(1).random((24, 36)).astype(np.float32)
    areas = picture.reshape(12, 2, 12, 3).mean(axis=(1, 3))
    assert thumbnail_features(picture)[:144] == pytest.approx(areas.ravel(), abs=1e-5)


def test_thumbnail_keeps_the_mean_of_sizes_that_do_not_divide() -> None:
    picture = numpy_generator(1).random((101, 67)).astype(np.float32)
    assert thumbnail_features(picture)[:144].mean() == pytest.approx(picture.mean(), abs=1e-3)


def test_histogram_holds_shares_of_the_pixels() -> None:
    picture = np.zeros((20, 20), np.float32)
    picture[:5] = 1.0
    histogram = thumbnail_features(picture)[144:]
    assert histogram[0] == pytest.approx(0.75)
    assert histogram[31] == pytest.approx(0.25)
    assert histogram.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(5, 7), (224, 180), (12, 12)])
def test_features_have_one_length_whatever_the_size(shape: tuple[int, int]) -> None:
    features = thumbnail_features(np.full(shape, 0.5, np.float32))
    assert features.shape == (FEATURES,) == (176,)
    assert features.dtype == np.float32


@pytest.mark.parametrize("wrong", [np.nan, 1.5, -0.2])
def test_picture_outside_the_unit_range_is_refused(wrong: float) -> None:
    with pytest.raises(DataError, match=r"pixels in \[0, 1\]"):
        thumbnail_features(np.full((20, 20), wrong, np.float32))


def test_stack_of_slices_is_refused() -> None:
    with pytest.raises(DataError, match=r"one slice \(Y, X\), got shape \(3, 20, 20\)"):
        thumbnail_features(np.zeros((3, 20, 20), np.float32))


def test_rival_finds_a_class_that_brightness_tells() -> None:
    target = numpy_generator(2).integers(0, 2, 200)
    features = pictures(0.3 + 0.1 * target)
    rival = fit_rival(features[:120], target[:120], seed=0)
    assert roc_auc_score(target[120:], rival.probability(features[120:])) > 0.99


def test_rival_is_at_chance_on_shuffled_labels() -> None:
    generator = numpy_generator(2)
    features = pictures(generator.random(400) * 0.6)
    target = generator.integers(0, 2, 400)
    rival = fit_rival(features[:200], target[:200], seed=0)
    assert roc_auc_score(target[200:], rival.probability(features[200:])) == pytest.approx(
        0.5, abs=0.12
    )


def test_same_seed_gives_the_same_rival() -> None:
    target = numpy_generator(2).integers(0, 2, 80)
    features = pictures(0.3 + 0.02 * target)
    first, second = (fit_rival(features, target, seed=7).probability(features) for _ in range(2))
    assert (first == second).all()


def test_probability_of_a_scan_is_the_mean_of_its_slices() -> None:
    target = numpy_generator(2).integers(0, 2, 80)
    features = pictures(0.3 + 0.02 * target)
    rival = fit_rival(features, target, seed=0)
    expected = rival.probability(features[:9]).mean()
    assert rival.scan_probability(features[:9]) == pytest.approx(expected)


def test_training_without_both_classes_is_refused() -> None:
    with pytest.raises(DataError, match="both classes"):
        fit_rival(pictures(np.full(4, 0.3)), np.ones(4, int), seed=0)


def test_training_labels_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="4 rows of features"):
        fit_rival(pictures(np.full(4, 0.3)), np.array([0, 1]), seed=0)


def test_features_of_another_kind_are_refused() -> None:
    target = np.array([0, 1] * 10)
    rival = fit_rival(pictures(0.3 + 0.1 * target), target, seed=0)
    with pytest.raises(DataError, match=r"features \(N, 176\), got shape \(2, 5\)"):
        rival.probability(np.zeros((2, 5), np.float32))


@pytest.mark.realdata
def test_neighbouring_slices_in_training_flatter_the_rival(real_data: Path) -> None:
    features, target, number = [], [], []
    for label, folder in enumerate(("non-COVID", "COVID")):
        files = {
            int(re.findall(r"\((\d+)\)", path.name)[0]): path
            for path in (real_data / "sars-cov-2-ct" / folder).glob("*.png")
        }
        for n, path in sorted(files.items())[::2]:
            features.append(thumbnail_features(windowed_to_unit(np.asarray(Image.open(path)))))
            target.append(label)
            number.append(n / max(files))
    seen, labels, place = np.stack(features), np.array(target), np.array(number)

    gap = 30 / 1250
    blocked = _auroc(seen, labels, place < 0.8 - gap, place >= 0.8)
    held_out = numpy_generator(0).random(len(labels)) < 0.2
    random = _auroc(seen, labels, ~held_out, held_out)
    assert 0.65 < blocked < random - 0.03
    assert random > 0.97


def _auroc(
    features: NDArray, target: NDArray, train: NDArray[np.bool_], test: NDArray[np.bool_]
) -> float:
    rival = fit_rival(features[train], target[train], seed=0)
    return float(roc_auc_score(target[test], rival.probability(features[test])))
