"""Planes of a map, as small as a network's frame, and where along the body each of them lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Planes:
    """Some planes of a map; between two of them it goes straight from one to the other.

    Attributes:
        values: (N, size, size) float32.
        at: (N,) float64, rising: where each lies, counted in slices of the upright scan; the
            plane of a volume may lie between two of them.
        reach: slices beyond the first and the last plane for which these still stand.
    """

    values: NDArray[np.float32]
    at: NDArray[np.float64]
    reach: float = 0.5

    def on(self, slices: NDArray[np.int64]) -> NDArray[np.float32]:
        """The map on slices (M,) of the scan, (M, size, size); 0 where nothing reaches."""
        place = np.interp(slices, self.at, np.arange(len(self.at)))
        below = np.minimum(place.astype(np.int64), max(len(self.at) - 2, 0))
        above = np.minimum(below + 1, len(self.at) - 1)
        share = (place - below).astype(np.float32)[:, None, None]
        found: NDArray[np.float32] = self.values[below] * (1 - share)
        found += self.values[above] * share
        found[~self.reached(slices)] = 0
        return found

    def reached(self, slices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the slices (M,) the map says anything of."""
        near: NDArray[np.bool_] = (slices >= self.at[0] - self.reach) & (
            slices <= self.at[-1] + self.reach
        )
        return near
