"""What is said about a mask that does not look like lungs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from covidssl.lungs.flags import flags_of

MM = (5.0, 2.0, 2.0)


def lungs(depth: int = 50) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Two ellipsoids of some 4 litres."""
    z, y, x = np.indices((depth, 128, 128))
    tall = ((z - depth / 2 + 0.5) / (depth / 2)) ** 2
    sides = np.zeros(z.shape, dtype=np.uint8)
    for side, column in ((1, 36), (2, 92)):
        sides[tall + ((y - 64) / 45) ** 2 + ((x - column) / 25) ** 2 < 1] = side
    return sides > 0, sides


def codes(mask: NDArray[np.bool_], sides: NDArray[np.uint8] | None = None) -> list[str]:
    return [flag.code for flag in flags_of(mask, sides, MM)]


def test_lungs_have_no_flag() -> None:
    assert codes(*lungs()) == []


def test_a_volume_out_of_range_is_flagged_with_its_litres() -> None:
    mask, sides = lungs()
    small = flags_of(mask, sides, (5.0, 0.7, 0.7))
    assert [flag.code for flag in small] == ["volume"]
    assert small[0].text.startswith("the lungs hold 0.")
    assert flags_of(mask, sides, (5.0, 4.0, 4.0))[0].code == "volume"
    assert flags_of(mask, sides, None) == ()


def test_a_slab_is_not_flagged_for_its_volume() -> None:
    mask, sides = lungs(200)
    assert codes(mask[95:105], sides[95:105]) == []
    # Long enough, but it ends inside the lungs.
    assert flags_of(mask[60:140], sides[60:140], (5.0, 0.7, 0.7)) == ()


def test_a_ratio_out_of_range_and_a_missing_side_are_flagged() -> None:
    mask, sides = lungs()
    y = np.arange(128)[None, :, None]
    small = (sides == 1) | ((sides == 2) & (abs(y - 64) < 8))
    assert codes(small, np.where(small, sides, 0).astype(np.uint8)) == ["left_right"]
    right = np.where(sides == 1, sides, 0).astype(np.uint8)
    flags = flags_of(mask & (right > 0), right, MM)
    assert [flag.code for flag in flags] == ["one_side"]
    assert flags[0].text == "the left lung is 0% of both, expected 5% or more"


def test_holes_are_flagged_and_the_heart_between_two_lungs_is_none() -> None:
    mask, sides = lungs()
    y, x = np.indices((128, 128))
    hollow = mask & ~(
        (abs(y - 64) < 22) & (abs(x - 36) < 12) | (abs(y - 64) < 22) & (abs(x - 92) < 12)
    )
    assert codes(hollow, np.where(hollow, sides, 0).astype(np.uint8)) == ["holes"]
    ring = mask.copy()
    ring[:, 40:44, 30:100] |= mask.any(axis=2)[:, 40:44, None]
    ring[:, 84:88, 30:100] |= mask.any(axis=2)[:, 84:88, None]
    both = np.where(ring, np.where(np.arange(128) < 64, 1, 2), 0).astype(np.uint8)
    assert codes(ring, both) == []


def test_a_mask_along_the_border_is_flagged() -> None:
    mask, _ = lungs()
    strips = np.zeros_like(mask)
    strips[:, :3], strips[:, -3:], strips[:, :, :3], strips[:, :, -3:] = True, True, True, True
    assert "border" in codes(strips)


def test_a_slice_that_lost_its_lungs_and_a_jump_are_flagged_with_their_slice() -> None:
    mask, sides = lungs()
    lost = mask.copy()
    lost[25] = False
    found = flags_of(lost, np.where(lost, sides, 0).astype(np.uint8), MM)
    assert [flag.code for flag in found] == ["jump"]
    assert "slice 26 of 50 lacks 100%" in found[0].text
    ends = mask.copy()
    ends[30:] = False
    assert codes(ends) == ["jump"]
    assert "from slice 30 to 31 of 50" in flags_of(ends, None, MM)[0].text


def test_one_picture_is_judged_by_what_one_picture_can_show() -> None:
    mask, sides = lungs()
    assert codes(mask[25:26], sides[25:26]) == []
    # The bottom of one lung.
    tip = (sides == 1)[8:9]
    assert codes(tip, np.where(tip, 1, 0).astype(np.uint8)) == []
    one = (sides == 1)[25:26]
    large = np.kron(one[0], np.ones((1, 2), dtype=bool))[None, :, :128]
    assert codes(large, large.astype(np.uint8)) == ["one_side"]


@pytest.mark.parametrize("depth", [3, 6, 12, 20, 30])
def test_healthy_lungs_in_thick_slices_do_not_jump(depth: int) -> None:
    mask, sides = lungs(depth)
    assert flags_of(mask, sides, (300.0 / depth, 2.0, 2.0)) == ()


def test_few_slices_say_nothing_about_jumps() -> None:
    mask, sides = lungs(12)
    mask[6] = False
    assert codes(mask, np.where(mask, sides, 0).astype(np.uint8)) == []
