"""Each view leaves out what it says, so that nothing else can be blamed for what it finds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from covidssl.audit.views import WIDTHS, equalised, views_of
from covidssl.randomness import numpy_generator

Picture = NDArray[np.float32]

LUNGS = np.zeros((60, 80), np.bool_)
LUNGS[15:45, 10:30] = LUNGS[15:45, 45:70] = True
NEEDS_LUNGS = {"inside", "outside", "blanked", "ranked_lungs", "shape", "own_scale"}


def picture(seed: int = 1) -> Picture:
    return (0.2 + 0.6 * numpy_generator(seed).random((60, 80))).astype(np.float32)


def differing(first: Picture, second: Picture, lungs: NDArray[np.bool_] = LUNGS) -> set[str]:
    """Names of the views in which two pictures differ."""
    a, b = views_of(first, lungs), views_of(second, lungs)
    return {name for name in a if not np.allclose(a[name], b[name], atol=2e-3)}


def test_every_view_has_its_width_and_is_of_numbers() -> None:
    found = views_of(picture(), LUNGS)
    assert {name: view.shape for name, view in found.items()} == {
        name: (width,) for name, width in WIDTHS.items()
    }
    assert all(view.dtype == np.float32 and np.isfinite(view).all() for view in found.values())


def test_without_lungs_the_views_of_lungs_are_unknown_and_the_others_stay() -> None:
    found = views_of(picture(), None)
    assert {name for name, view in found.items() if np.isnan(view).all()} == NEEDS_LUNGS
    assert {name for name, view in found.items() if np.isfinite(view).all()} == (
        WIDTHS.keys() - NEEDS_LUNGS
    )


def test_what_changes_inside_the_lungs_is_not_seen_outside() -> None:
    sick = picture()
    sick[LUNGS] = np.clip(sick[LUNGS] + 0.15, 0, 1)
    assert not differing(picture(), sick) & {"border", "outside", "blanked", "shape"}
    assert {"inside", "rival"} <= differing(picture(), sick)


def test_what_changes_outside_the_lungs_is_not_seen_inside() -> None:
    other = picture()
    other[~LUNGS] *= 0.7
    assert not differing(picture(), other) & {"inside", "own_scale", "shape"}
    assert {"border", "outside", "blanked"} <= differing(picture(), other)


def test_rim_of_the_lungs_is_not_seen_outside() -> None:
    sick = picture()
    sick[14, 10:30] = 0.9
    assert not differing(picture(), sick) & {"outside", "blanked"}


def test_no_window_changes_the_ranks() -> None:
    assert not differing(picture(), picture() ** 2.0) & {"ranked", "ranked_lungs", "shape"}
    assert equalised(picture()) == pytest.approx(equalised(0.5 * picture() + 0.3), abs=2e-3)


def test_ranks_of_a_flat_picture_are_all_one_half() -> None:
    assert equalised(np.full((40, 40), 0.3, np.float32)) == pytest.approx(0.5)


def test_brightness_and_contrast_do_not_change_what_is_scaled_by_the_own_lung() -> None:
    first, second = (views_of(p, LUNGS) for p in (picture(), 0.5 * picture() + 0.2))
    # A value at the edge of a bin may fall on either side of it.
    assert np.abs(first["own_scale"] - second["own_scale"]).sum() < 0.01
    assert np.abs(first["inside"] - second["inside"]).sum() > 0.5


def test_brightness_and_contrast_do_not_change_the_standardised_thumbnail() -> None:
    assert "fine" not in differing(picture(), 0.5 * picture() + 0.2)


def test_shape_sees_the_lungs_and_nothing_else() -> None:
    assert "shape" not in differing(picture(1), picture(2))
    moved = np.roll(LUNGS, 8, axis=0)
    assert np.abs(views_of(picture(), LUNGS)["shape"] - views_of(picture(), moved)["shape"]).any()


def test_border_sees_the_outermost_pixels_and_nothing_else() -> None:
    inner = picture()
    inner[2:-2, 2:-2] = 0.0
    assert "border" not in differing(picture(), inner)
    outer = picture()
    outer[:, -1] = 1.0
    assert "border" in differing(picture(), outer)


def test_lungs_that_fill_the_picture_leave_their_outside_empty_but_finite() -> None:
    found = views_of(picture(), np.ones((60, 80), np.bool_))
    assert found["outside"].sum() == 0
    assert np.isfinite(np.concatenate(list(found.values()))).all()
