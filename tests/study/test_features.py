"""Features are pooled inside the lungs: against a plain loop over images and channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from covidssl.frames import unit_from_frames
from covidssl.networks.encoder import Encoder
from pipelines.study.features import feature_file, kept_features, lung_features
from pipelines.study.targets import TargetSet
from tests.networks.kinds import encoder_of
from tests.study.made_targets import made_target


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """A plain path of 8, 16 and 24 features."""
    return encoder_of("unet")


@pytest.fixture(scope="module")
def target() -> TargetSet:
    """More images than go through an encoder at once; lungs whose edges cut through cells."""
    made = made_target(35, size=32)
    for row, lungs in enumerate(made.lungs):
        if row != 1:
            lungs[:] = np.roll(lungs, (row % 5, row % 7), (0, 1))
    return made


def by_hand(encoder: Encoder, target: TargetSet, row: int) -> NDArray[np.float64]:
    """Mean and deviation of each channel, a pixel counting by its share of lung."""
    encoder.eval()
    with torch.no_grad():
        levels = encoder(unit_from_frames(torch.from_numpy(target.frames[row]))[None, None])
    lungs = target.lungs[row] if target.lungs[row].any() else np.ones_like(target.lungs[row])
    found: list[float] = []
    for level in levels:
        values = level[0].double().numpy()
        edge = lungs.shape[0] // values.shape[1]
        share = lungs.reshape(values.shape[1], edge, values.shape[2], edge).mean((1, 3))
        means = [float((channel * share).sum() / share.sum()) for channel in values]
        found += means
        found += [
            float(np.sqrt(((channel - mean) ** 2 * share).sum() / share.sum()))
            for channel, mean in zip(values, means, strict=True)
        ]
    return np.array(found)


def test_features_are_those_of_a_plain_loop(encoder: Encoder, target: TargetSet) -> None:
    features = lung_features(encoder, target)
    assert features.shape == (70, 2 * sum(encoder.channels))
    assert features.dtype == np.float32
    for row in (0, 2, 37, 63, 64, 69):
        np.testing.assert_allclose(features[row], by_hand(encoder, target, row), atol=1e-5)


def test_an_image_without_lungs_counts_whole(encoder: Encoder, target: TargetSet) -> None:
    assert not target.lungs[1].any()
    features = lung_features(encoder, target)
    np.testing.assert_allclose(features[1], by_hand(encoder, target, 1), atol=1e-5)
    assert not target.lungs[1].any(), "the set itself must stay as it is"


def test_features_are_kept_under_the_name_of_encoder_set_and_view(
    encoder: Encoder, target: TargetSet, tmp_path: Path
) -> None:
    file = feature_file(tmp_path, "0123456789abcdef" * 4, target, "plain")
    others = {
        feature_file(tmp_path, "f" * 64, target, "plain"),
        feature_file(tmp_path, "0123456789abcdef" * 4, target, "lungs_only_ranked"),
    }
    assert file not in others
    features = kept_features(file, encoder, target)
    assert file.is_file()
    np.testing.assert_array_equal(kept_features(file, encoder_of("light"), target), features)
