"""What tests of training share: phantoms, made once."""

from __future__ import annotations

import pytest

from tests.training.verbs import Verbs


@pytest.fixture(scope="session")
def verbs(tmp_path_factory: pytest.TempPathFactory) -> Verbs:
    return Verbs(tmp_path_factory.mktemp("verbs"))
