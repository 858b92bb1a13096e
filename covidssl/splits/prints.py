"""What is compared of scans to find the same picture twice."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from covidssl.duplicates import Hashes, groups_of, near_pairs
from covidssl.errors import DataError


@dataclass(frozen=True)
class Prints:
    """What is known of the pictures of scans, in one order.

    Attributes:
        names: of the scans.
        hashes: (N, 32) uint8, `picture_hash` of the middle slice that is looked at.
        voxels: SHA-256 of the voxels of each scan.
        thumbnails: (N, 176) what the trivial rival sees of each scan.
    """

    names: tuple[str, ...]
    hashes: Hashes
    voxels: tuple[str, ...]
    thumbnails: NDArray[np.float32]

    def __post_init__(self) -> None:
        if {len(self.names), len(self.hashes), len(self.voxels), len(self.thumbnails)} != {
            len(self.names)
        }:
            raise DataError("Names, hashes, voxels and thumbnails must be of the same scans.")

    @cached_property
    def equal(self) -> NDArray[np.int64]:
        """(P, 3) pairs of scans with the same voxels: first < second, and 0."""
        same: dict[str, list[int]] = defaultdict(list)
        for place, digest in enumerate(self.voxels):
            same[digest].append(place)
        pairs = [(a, b, 0) for places in same.values() for a, b in combinations(places, 2)]
        return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 3)

    @cached_property
    def near(self) -> NDArray[np.int64]:
        """(P, 3) near duplicates that are not equal: first < second, bits that differ."""
        pairs = near_pairs(self.hashes)
        known = self.equal[:, 0] * len(self.names) + self.equal[:, 1]
        return pairs[~np.isin(pairs[:, 0] * len(self.names) + pairs[:, 1], known)]

    @property
    def alike(self) -> NDArray[np.int64]:
        """(P, 3) equal scans, then near duplicates."""
        return np.concatenate((self.equal, self.near))

    def groups(self) -> dict[str, int]:
        """Number of the group of near duplicates that each scan is in."""
        return dict(zip(self.names, groups_of(len(self.names), self.alike).tolist(), strict=True))
