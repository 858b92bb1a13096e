"""The model that most tests of predictions ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidssl.model import Model, load_model
from tests.prediction.models import write_model


@pytest.fixture(scope="session")
def of_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of pictures that knows its limit."""
    return write_model(tmp_path_factory.mktemp("predicting") / "model")


@pytest.fixture
def asked(of_pictures: Path) -> Model:
    """That model, loaded."""
    return load_model(of_pictures)
