"""The order test by what an encoder sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covidssl.audit import encoder_features, see
from covidssl.datasets import read_dataset
from covidssl.errors import WeightsError
from covidssl.file_order import order_effect
from covidssl.frames import Frame
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.randomness import initial_weights
from covidssl.weights import EncoderCard, Origin, save_encoder_file
from tests.audit.made_up import write_patients


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder that has learnt nothing: texture reaches its levels all the same."""
    plan = EncoderPlan(channels=(8, 16), groups=4)
    with initial_weights(1):
        network = build_encoder(plan)
    origin = Origin(data_fingerprint="ab12", pictures=9, steps=5, seed=3)
    card = EncoderCard(
        holds="encoder",
        encoder=plan,
        frame=Frame(size=32),
        trained_on=origin,
        metrics={},
        sha256="",
    )
    path = tmp_path_factory.mktemp("run") / "encoder.safetensors"
    save_encoder_file(path, network, network.state_dict(), card)
    return path


def test_patients_in_file_order_are_found_by_what_an_encoder_sees(
    encoder: Path, tmp_path: Path
) -> None:
    seen = see(read_dataset(write_patients(tmp_path / "set", patients=5), "COVID"), 8)
    features, rows = encoder_features(encoder, seen, 8)
    assert features.shape == (60, 2 * (8 + 16))
    assert rows.tolist() == list(range(60))
    assert np.isfinite(features).all()
    assert order_effect(features, seen.target[rows], permutations=199).carries_patients


def test_encoder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    seen = see(read_dataset(write_patients(tmp_path / "set", 1, 2), "COVID"), 8)
    with pytest.raises(WeightsError):
        encoder_features(tmp_path / "none", seen, 8)
