"""Dense disease between the right lung and the spine."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from covidssl.lungs import LEFT, RIGHT
from covidssl.lungs.paravertebral import beside_the_spine

MM = (5.0, 2.5, 2.5)
EDGE = 30


def chest(diseased: slice = slice(0, 0)) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Two boxes of lung with tissue between; the right one is dense along its edge in a slab."""
    sides = np.zeros((20, 60, 80), dtype=np.uint8)
    sides[:, 5:55, 10:EDGE], sides[:, 5:55, 50:70] = RIGHT, LEFT
    hu = np.where(sides > 0, -860, 40).astype(np.float32)
    hu[diseased, :, EDGE - 4 : EDGE] = -350
    hu[diseased, :, 50:54] = -350
    return sides, hu


def test_a_lung_diseased_up_to_its_outline_goes_on_for_some_millimetres() -> None:
    sides, hu = chest(slice(5, 15))
    found = beside_the_spine(sides, hu, MM)
    assert np.all(found[8, 35:50, EDGE : EDGE + 2] == RIGHT)
    assert not found[8, 35:50, EDGE + 3 : 50].any()


def test_nothing_is_added_to_an_aerated_outline() -> None:
    sides, hu = chest()
    assert np.array_equal(beside_the_spine(sides, hu, MM), sides)
    sides, hu = chest(slice(5, 15))
    found = beside_the_spine(sides, hu, MM)
    assert np.array_equal(found[:5], sides[:5])
    assert np.array_equal(found[15:], sides[15:])


def test_beside_the_aorta_and_beside_the_heart_nothing_is_added() -> None:
    sides, hu = chest(slice(5, 15))
    found = beside_the_spine(sides, hu, MM)
    assert np.array_equal(found == LEFT, sides == LEFT)
    assert np.array_equal(found[:, :28], sides[:, :28])


def test_bone_stays_outside() -> None:
    sides, hu = chest(slice(5, 15))
    hu[:, :, EDGE:50] = 400
    assert np.array_equal(beside_the_spine(sides, hu, MM), sides)


@pytest.mark.parametrize("side", [0, LEFT])
def test_without_a_right_lung_nothing_changes(side: int) -> None:
    sides, hu = chest(slice(5, 15))
    sides[sides > 0] = side
    assert np.array_equal(beside_the_spine(sides, hu, MM), sides)
