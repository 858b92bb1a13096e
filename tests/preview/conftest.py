from __future__ import annotations

from pathlib import Path

import pytest
import torch

from covidssl.commands import preview
from covidssl.lesions import LesionRanges, render, sample
from covidssl.preview import caption
from covidssl.randomness import torch_generator
from tests.preview.previews import Slices, phantom_slices, prepared, small


@pytest.fixture
def slices() -> Slices:
    """Three phantom slices with lesions, and their captions."""
    hu, lungs = phantom_slices()
    params = sample(LesionRanges(clean_share=0), torch_generator(0), 3)
    rendered = render(hu, lungs, params, torch.full((3, 2), 2.4))
    return hu, lungs, rendered, [caption(row, "phantom") for row in params.rows()]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("preview"), seed=1)


@pytest.fixture(scope="session")
def shown(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preview of two presets and of ranges of one's own."""
    out = tmp_path_factory.mktemp("shown") / "out"
    config = small("presets=[ggo,covid]", "ranges={wide: {clean_share: 0, radius_mm: [30, 40]}}")
    assert preview.main(config, store, out) == out / "preview.png"
    return out
