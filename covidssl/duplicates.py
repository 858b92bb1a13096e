"""Near duplicates: pictures whose perceptual hashes differ in few of 256 bits."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from covidssl.errors import DataError

Hashes = NDArray[np.uint8]

HASH_BYTES = 32
MOST_BITS = 24  # of 256; on CT slices, unrelated ones differ in 60 and more
_HASH_SIZE = 16
_BLOCK = 1024


def picture_hash(picture: NDArray[np.floating]) -> Hashes:
    """The 256-bit perceptual hash of a picture: signs of its low frequencies against their median.

    It changes little with size, compression, brightness and contrast. The hash is `imagehash.phash`
    of the picture at 8 bits.

    Args:
        picture: (Y, X), in [0, 1].

    Returns:
        (32,) uint8, eight bits a byte.

    Raises:
        DataError: for another shape, or values outside of [0, 1].
    """
    import imagehash  # a bare GPU node trains without it

    if picture.ndim != 2 or not picture.size:
        raise DataError(f"A hash is of one picture (Y, X), got shape {picture.shape}.")
    if not (picture.min() >= 0 and picture.max() <= 1):
        raise DataError("A hash is of a picture in [0, 1]; divide by its largest grey value.")
    grey = Image.fromarray(np.rint(255 * picture).astype(np.uint8))
    return np.packbits(imagehash.phash(grey, hash_size=_HASH_SIZE).hash)


def voxels_digest(voxels: NDArray[np.generic]) -> str:
    """SHA-256 over the kind, shape and values of a scan's voxels (Z, Y, X), as hexadecimal text."""
    kind = f"{voxels.dtype.str}{voxels.shape}".encode()
    return hashlib.sha256(kind + np.ascontiguousarray(voxels).tobytes()).hexdigest()


def near_pairs(hashes: Hashes, most: int = MOST_BITS) -> NDArray[np.int64]:
    """All pairs of hashes that differ in few bits.

    All are held against all, block by block: memory does not grow with the square of N.

    Args:
        hashes: (N, 32) uint8, a `picture_hash` each.
        most: bits in which a pair may differ.

    Returns:
        (P, 3) int64: first, second (first < second) and the number of bits that differ, in order
        of first and second.
    """
    words = _words(hashes)
    found = [np.empty((0, 3), np.int64)]
    for top in range(0, len(words), _BLOCK):
        near = _near(words[top : top + _BLOCK], words[top:], most) + (top, top, 0)
        found.append(near[near[:, 0] < near[:, 1]])
    return np.concatenate(found)


def near_across(hashes: Hashes, others: Hashes, most: int = MOST_BITS) -> NDArray[np.int64]:
    """All pairs of a hash of one set and one of another that differ in few bits.

    Args:
        hashes: (N, 32) uint8, a `picture_hash` each.
        others: (M, 32) uint8, likewise.
        most: bits in which a pair may differ.

    Returns:
        (P, 3) int64: row in `hashes`, row in `others`, and the number of bits that differ, in order
        of the rows.
    """
    words, other_words = _words(hashes), _words(others)
    found = [np.empty((0, 3), np.int64)]
    for top in range(0, len(words), _BLOCK):
        found.append(_near(words[top : top + _BLOCK], other_words, most) + (top, 0, 0))
    return np.concatenate(found)


def groups_of(n: int, pairs: NDArray[np.integer]) -> NDArray[np.int64]:
    """What hangs together by pairs: the group of each of n things, numbered by first member.

    Args:
        n: how many things.
        pairs: (P, 2 or more), indices below n in the first two columns.

    Returns:
        (n,) int64; a thing without a pair is a group of its own.
    """
    rows, columns = (pairs[:, 0], pairs[:, 1]) if len(pairs) else (np.empty(0, int),) * 2
    linked = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(n, n))
    _, group = connected_components(linked, directed=False)
    _, first, number = np.unique(group, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number].astype(np.int64)


def _words(hashes: Hashes) -> NDArray[np.uint64]:
    if hashes.ndim != 2 or hashes.shape[1] != HASH_BYTES or hashes.dtype != np.uint8:
        raise DataError(
            f"Expected hashes (N, {HASH_BYTES}) uint8, got {hashes.shape} {hashes.dtype}."
        )
    return np.ascontiguousarray(hashes).view(np.uint64)


def _near(first: NDArray[np.uint64], second: NDArray[np.uint64], most: int) -> NDArray[np.int64]:
    """(P, 3) rows of first and second, and the bits that differ, in order of the rows."""
    found = [np.empty((0, 3), np.int64)]
    for left in range(0, len(second), _BLOCK):
        bits = _distances(first, second[left : left + _BLOCK])
        rows, columns = np.nonzero(bits <= most)
        found.append(np.stack((rows, columns + left, bits[rows, columns]), axis=1))
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _distances(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Bits that differ, (N, M)."""
    bits = np.zeros((len(first), len(second)), np.uint16)
    for word in range(first.shape[1]):
        bits += np.bitwise_count(first[:, word, None] ^ second[None, :, word])
    return bits
