"""What every test may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.browser import browser as browser  # a fixture: one Chromium for all tests

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

# Tests are many and small: with more threads they wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real CT, where there is one."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no real CT beside the checkout (../shared/data)")
    return SHARED_DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` say why they do not run."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
