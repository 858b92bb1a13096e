from __future__ import annotations

import numpy as np
import pytest

from covidssl.realism.normalise import RANGE_HU, anchors, nominal_hu
from tests.realism.chests import SIZE, chest_hu, disc, lungs

NONE = np.zeros((SIZE, SIZE), dtype=bool)


def test_a_slice_in_hu_stays_as_it_is() -> None:
    hu = chest_hu(lungs(), np.random.default_rng(0))
    found = anchors(hu, lungs(), NONE)
    assert found is not None
    assert np.abs(nominal_hu(hu, found) - np.clip(hu, *RANGE_HU)).max() < 15


@pytest.mark.parametrize(
    ("low", "width"), [(-1350.0, 1500.0), (-1000.0, 1400.0), (-1200.0, 1600.0)]
)
def test_any_window_gives_the_same_nominal_hu(low: float, width: float) -> None:
    hu = chest_hu(lungs(), np.random.default_rng(1))
    grey = np.clip((hu - low) / width * 255, 0, 255).astype(np.uint8)
    found = anchors(grey, lungs(), NONE)
    assert found is not None
    seen = (hu > -950) & (hu < 100)
    assert np.abs(nominal_hu(grey, found) - hu)[seen].mean() < 15


def test_lesions_marked_or_not_move_no_anchor() -> None:
    rng = np.random.default_rng(2)
    hu = chest_hu(lungs(), rng)
    clean = anchors(hu, lungs(), NONE)
    marked, faint = disc(70, 25, 9) & lungs(), disc(60, 90, 14) & lungs()
    hu[marked], hu[faint] = -50.0, -600.0
    ill = anchors(hu, lungs(), marked)
    assert clean is not None
    assert ill is not None
    assert abs(ill.aerated - clean.aerated) < 8
    assert abs(ill.soft_tissue - clean.soft_tissue) < 8


def test_a_slice_without_lungs_has_no_anchors() -> None:
    assert anchors(chest_hu(NONE, np.random.default_rng(3)), NONE, NONE) is None
