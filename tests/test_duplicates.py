"""Near duplicates: what changes a hash little, and that every pair is found."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from covidssl import duplicates
from covidssl.duplicates import (
    HASH_BYTES,
    MOST_BITS,
    groups_of,
    near_across,
    near_pairs,
    picture_hash,
    voxels_digest,
)
from covidssl.errors import DataError
from covidssl.randomness import numpy_generator

Picture = NDArray[np.float64]


def picture(seed: int, edge: int = 200) -> Picture:
    """Smooth patterns (edge, edge) in [0, 1], as unlike from seed to seed as can be."""
    noise = numpy_generator(seed).normal(size=(edge, edge))
    smooth = ndimage.gaussian_filter(noise, edge / 25)
    low, high = smooth.min(), smooth.max()
    found: Picture = (smooth - low) / (high - low)
    return found


def bits_between(first: Picture, second: Picture) -> int:
    return int(np.bitwise_count(picture_hash(first) ^ picture_hash(second)).sum())


def as_jpeg(grey: Picture) -> Picture:
    content = io.BytesIO()
    Image.fromarray(np.rint(255 * grey).astype(np.uint8)).save(content, "JPEG", quality=40)
    return np.asarray(Image.open(content)) / 255.0


@pytest.mark.parametrize(
    "changed",
    [
        as_jpeg,
        lambda grey: np.clip(0.6 * grey + 0.25, 0, 1),
        lambda grey: ndimage.zoom(grey, 0.6, order=1).clip(0, 1),
        lambda grey: np.clip(grey + numpy_generator(9).normal(0, 0.02, grey.shape), 0, 1),
    ],
    ids=["jpeg", "window", "size", "noise"],
)
@pytest.mark.parametrize("seed", range(3))
def test_copy_of_a_picture_is_near_and_another_picture_is_not(
    changed: Callable[[Picture], Picture], seed: int
) -> None:
    assert bits_between(picture(seed), changed(picture(seed))) <= MOST_BITS
    assert bits_between(picture(seed), changed(picture(seed + 100))) > 2 * MOST_BITS


def test_hash_is_32_bytes_whatever_the_size_of_the_picture() -> None:
    for shape in ((224, 224), (40, 300), (17, 16)):
        found = picture_hash(np.full(shape, 0.5))
        assert found.shape == (HASH_BYTES,)
        assert found.dtype == np.uint8


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (np.full((20, 20), 200.0), r"in \[0, 1\]"),
        (np.full((20, 20), np.nan), r"in \[0, 1\]"),
        (np.zeros((3, 20, 20)), r"one picture \(Y, X\), got shape \(3, 20, 20\)"),
    ],
    ids=["grey values", "nan", "stack"],
)
def test_what_is_no_picture_in_the_unit_range_is_refused(wrong: Picture, text: str) -> None:
    with pytest.raises(DataError, match=text):
        picture_hash(wrong)


def naive_pairs(hashes: NDArray[np.uint8], most: int) -> list[list[int]]:
    bits = np.unpackbits(hashes, axis=1).astype(int)
    return [
        [i, j, int(np.abs(bits[i] - bits[j]).sum())]
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if np.abs(bits[i] - bits[j]).sum() <= most
    ]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n=st.integers(0, 40),
    most=st.sampled_from([0, 3, 24, 130]),
    block=st.sampled_from([1, 7, 64]),
)
def test_pairs_are_those_that_a_plain_loop_finds(seed: int, n: int, most: int, block: int) -> None:
    generator = numpy_generator(seed)
    hashes = generator.integers(0, 256, (n, HASH_BYTES), dtype=np.uint8)
    copies = generator.integers(0, n, n // 2) if n else np.empty(0, int)
    hashes = np.concatenate((hashes, hashes[copies]))
    hashes[n:, 0] ^= generator.integers(0, 256, len(copies), dtype=np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_BLOCK", block)
        assert near_pairs(hashes, most).tolist() == naive_pairs(hashes, most)


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 8), np.uint8), np.zeros((4, 32), np.int64), np.zeros(32, np.uint8)]
)
def test_what_are_no_hashes_is_refused(wrong: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match=r"hashes \(N, 32\) uint8"):
        near_pairs(wrong)


def test_groups_hang_together_through_chains_and_are_numbered_by_first_member() -> None:
    pairs = np.array([[4, 5, 3], [1, 4, 9]])
    assert groups_of(7, pairs).tolist() == [0, 1, 2, 3, 1, 1, 4]


def test_without_pairs_everything_stands_alone() -> None:
    assert groups_of(3, np.empty((0, 3), np.int64)).tolist() == [0, 1, 2]
    assert groups_of(0, np.empty((0, 3), np.int64)).tolist() == []


@pytest.mark.parametrize("block", [1, 7, 64])
def test_pairs_across_two_sets_are_those_that_a_plain_loop_finds(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    generator = numpy_generator(3)
    hashes = generator.integers(0, 256, (21, HASH_BYTES), dtype=np.uint8)
    first, second = hashes[:8], np.concatenate((hashes[4:], hashes[:2]))
    both = naive_pairs(np.concatenate((first, second)), 110)
    expected = [[i, j - 8, bits] for i, j, bits in both if i < 8 <= j]
    assert near_across(first, second, 110).tolist() == expected
    assert len(near_across(first[:0], second)) == len(near_across(first, second[:0])) == 0


@pytest.mark.parametrize(
    "other",
    [
        np.arange(24, dtype=np.int16).reshape(2, 4, 3),
        np.arange(24, dtype=np.int32).reshape(2, 3, 4),
        np.arange(1, 25, dtype=np.int16).reshape(2, 3, 4),
    ],
    ids=["shape", "kind", "values"],
)
def test_digest_follows_shape_kind_and_values_and_not_how_they_lie(
    other: NDArray[np.integer],
) -> None:
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    assert voxels_digest(np.asfortranarray(voxels)) == voxels_digest(voxels)
    assert voxels_digest(other) != voxels_digest(voxels)
