"""The picture of a scan shows the slices with lung, and both lungs in colours of their own."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from covidssl.hounsfield import Pixels
from covidssl.lungs import Lungs
from covidssl.qc import thumbnail
from covidssl.qc.thumbnail import COLOURS, HEIGHT, SINGLE
from covidssl.volume import Volume
from tests.scan_files import chest_hu

SPACING = (5.0, 1.0, 1.0)


def scan(slices: int = 12, spacing: tuple[float, float, float] | None = SPACING) -> Volume:
    return Volume(chest_hu(slices, 64), Pixels.HU, spacing)


def lungs_of(ct: Volume, sides: bool = True, only: slice = slice(None)) -> Lungs:
    hu = ct.array.astype(np.int64)
    mask = np.zeros(hu.shape, dtype=np.bool_)
    mask[only] = (hu[only] < -600) & (hu[only] > -930)
    halves = np.where(np.arange(hu.shape[2]) < hu.shape[2] // 2, 1, 2)
    share = mask.mean(axis=(1, 2)).astype(np.float32)
    told = np.where(mask, halves, 0).astype(np.uint8) if sides else None
    return Lungs(ct.mask(mask), share, None, sides=told)


def opened(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def places(picture: NDArray[np.uint8], side: str) -> NDArray[np.intp]:
    return np.argwhere((picture == np.array(COLOURS[side])).all(axis=2))


def test_both_lungs_are_outlined_in_colours_of_their_own_right_on_the_left() -> None:
    ct = scan(1, None)
    picture = opened(thumbnail(ct, lungs_of(ct)))
    right, left = places(picture, "right"), places(picture, "left")
    assert len(right) > 50
    assert len(left) > 50
    assert right[:, 1].max() < left[:, 1].min()
    assert not len(places(picture, "lungs"))


def test_lungs_that_are_not_told_apart_have_a_third_colour() -> None:
    ct = scan(1, None)
    picture = opened(thumbnail(ct, lungs_of(ct, sides=False)))
    assert len(places(picture, "lungs")) > 100
    assert not len(places(picture, "right"))


def test_without_lungs_a_scan_is_shown_without_outlines() -> None:
    picture = opened(thumbnail(scan(), None))
    assert (picture.max(axis=2) == picture.min(axis=2)).all()
    assert picture.max() > 150


def test_slices_are_spread_from_the_lowest_to_the_highest_with_lung() -> None:
    ct = scan(30, None)
    # A bright mark that grows with the slice tells which ones are shown.
    for index, plane in enumerate(ct.array):
        plane[:4, : 2 * index + 2] = 3000
    picture = opened(thumbnail(ct, lungs_of(ct, only=slice(5, 26))))
    tile = (picture.shape[1] + 4) // 5
    line = picture[4, :, 0] > 250
    shown = [line[start : start + tile].sum() * 64 / (tile - 4) / 2 - 1 for start in
             range(0, picture.shape[1], tile)]  # fmt: skip
    assert np.rint(shown).astype(int).tolist() == [5, 10, 15, 20, 25]


def test_a_coronal_view_has_the_proportions_of_the_body_and_the_head_up() -> None:
    ct = scan(12)
    ct.array[-2:] = 3000
    flat = opened(thumbnail(Volume(ct.array, Pixels.HU, None), lungs_of(ct)))
    whole = opened(thumbnail(ct, lungs_of(ct)))
    coronal = whole[:, flat.shape[1] + 4 :, 0]
    # 64 mm wide and 60 mm high.
    assert coronal.shape[1] / HEIGHT == pytest.approx(64 / 60, abs=0.02)
    assert np.median(coronal[4]) > 250
    assert np.median(coronal[-4]) < 250


def test_one_slice_is_shown_larger_and_alone() -> None:
    picture = opened(thumbnail(scan(1), None))
    assert picture.shape == (SINGLE, SINGLE, 3)


def test_hu_are_seen_through_the_lung_window_and_grey_values_as_they_are() -> None:
    grey = np.full((1, 64, 64), 100, dtype=np.uint8)
    assert abs(int(opened(thumbnail(Volume(grey, Pixels.WINDOWED), None)).mean()) - 100) <= 4
    hu = np.full((1, 64, 64), -300, dtype=np.int16)
    assert abs(int(opened(thumbnail(Volume(hu, Pixels.HU), None)).mean()) - 127) <= 4


@pytest.mark.parametrize("edge", [64, 512])
def test_a_picture_stays_small_even_of_noise(edge: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, edge, edge)).astype(np.uint8)
    assert len(thumbnail(Volume(noise, Pixels.WINDOWED, (1.0, 1.0, 1.0)), None)) < 60_000


def test_a_picture_says_nothing_in_words() -> None:
    ct = scan()
    png = thumbnail(Volume(ct.array, Pixels.HU, SPACING, source="Jane Doe"), lungs_of(ct))
    assert not Image.open(io.BytesIO(png)).info
    assert b"Jane" not in png


def test_the_same_scan_gives_the_same_picture() -> None:
    ct = scan()
    assert thumbnail(ct, lungs_of(ct)) == thumbnail(ct, lungs_of(ct))
