"""Probes: what holds the label scores 1, what holds nothing scores about a half."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.quality.features import level_features, mean_of_scans
from covidssl.quality.folds import make_folds
from covidssl.quality.probing import probe_quality
from covidssl.randomness import initial_weights, numpy_generator
from tests.quality.made import prints_of, scans_of

TARGET = np.arange(200) % 2


def quality(tmp_path: Path, features: np.ndarray) -> dict[str, float]:
    scans = scans_of(tmp_path, [f"person-{n}" for n in range(200)], [bool(n) for n in TARGET])
    folds = make_folds(scans, prints_of(scans), 5).folds
    return probe_quality(features.astype(np.float32), TARGET, folds, neighbours=10)


def test_features_that_hold_the_label_score_one(tmp_path: Path) -> None:
    noise = numpy_generator(1).normal(size=(200, 6))
    holding = np.column_stack((8.0 * TARGET, -8.0 * TARGET, noise))
    found = quality(tmp_path, holding)
    assert found == {"probe_auroc": 1.0, "probe_auroc_mean_of_folds": 1.0, "knn_auroc": 1.0}


def test_features_of_noise_score_a_half(tmp_path: Path) -> None:
    found = quality(tmp_path, numpy_generator(2).normal(size=(200, 6)))
    for name, value in found.items():
        assert value == pytest.approx(0.5, abs=0.12), name


def test_a_feature_that_never_changes_does_no_harm(tmp_path: Path) -> None:
    found = quality(tmp_path, np.column_stack((8.0 * TARGET, np.full(200, 3.0))))
    assert found["probe_auroc"] == 1.0


@pytest.mark.parametrize("shape", [(32, 32), (8, 32, 32)])
def test_every_level_is_pooled_by_mean_and_maximum(shape: tuple[int, ...]) -> None:
    dimensions = len(shape)
    plan = EncoderPlan.model_validate({"channels": (8, 16), "dimensions": dimensions})
    with initial_weights(0):
        encoder = build_encoder(plan)
    frames = numpy_generator(3).integers(0, 65536, (3, *shape)).astype(np.uint16)
    found = level_features(encoder, frames)
    assert [level.shape for level in found] == [(3, 16), (3, 32)]
    with torch.no_grad():
        maps = encoder(torch.from_numpy(frames.astype(np.float32) / 65535.0)[:, None])
    for pooled, level in zip(found, maps, strict=True):
        flat = level.flatten(2).numpy()
        np.testing.assert_allclose(pooled[:, : flat.shape[1]], flat.mean(2), atol=1e-4)
        np.testing.assert_allclose(pooled[:, flat.shape[1] :], flat.max(2), atol=1e-4)


def test_features_of_a_scan_are_the_mean_of_its_frames() -> None:
    frames = np.array([[1.0, 0.0], [3.0, 0.0], [5.0, 7.0]], np.float32)
    assert mean_of_scans(frames, np.array([0, 0, 1])).tolist() == [[2.0, 0.0], [5.0, 7.0]]
