"""Whether file order carries patients: do the pictures most alike lie side by side in it?

Slices of one patient look alike. Where they also stand beside each other in file order, a random
split puts them on both sides, and contiguous blocks are the split that keeps them together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.randomness import numpy_generator

WITHIN = 3
PERMUTATIONS = 999
_STREAM = 51
_BLOCK = 1024
_LEVEL = 0.005
_LEAST_EXCESS = 0.1
_EDGES = (1, 2, 3, 4, 6, 9, 13, 19, 28, 41, 61, 91, 136, 200)
_MOST_LAG = 100
_SMOOTH = 5
_FADED = 0.2  # of the likeness that neighbours have beyond that of any two pictures
_TIMES_CHANCE = 2.0

Places = NDArray[np.int64]


class CurvePoint(NamedTuple):
    """Share of nearest neighbours at most `distance` places off, and the share by chance."""

    distance: int
    share: float
    chance: float


@dataclass(frozen=True)
class OrderEffect:
    """Where in file order the picture most like each picture stands.

    Attributes:
        n: pictures that have a neighbour to look for.
        within: places that count as side by side.
        share_within: share of pictures whose nearest neighbour is at most `within` places off.
        chance: that share if the order told nothing.
        p: share of shuffled orders with as large a share; 1 / (permutations + 1) at least.
        permutations: how many orders were drawn.
        seed: of the draws.
        median_distance: in places, and `median_by_chance` if the order told nothing.
        curve: shares by distance.
        likeness: by lag 1, 2, ...: the mean correlation of pictures that lag apart, less that of
            any two pictures of their class; the class in which it reaches farthest.
        reach: places after which likeness has faded, so that a narrower gap leaks; 0 where order
            tells nothing.
        nearest: (N,) row of each picture's nearest neighbour in its class; -1 for none.
    """

    n: int
    within: int
    share_within: float
    chance: float
    p: float
    permutations: int
    seed: int
    median_distance: float
    median_by_chance: float
    curve: tuple[CurvePoint, ...]
    likeness: tuple[float, ...]
    reach: int
    nearest: Places

    @property
    def carries_patients(self) -> bool:
        """Whether neighbours in file order are alike, beyond chance and beyond a trifle."""
        return self.p <= _LEVEL and self.share_within >= self.chance + _LEAST_EXCESS

    @property
    def gap(self) -> int:
        """Places to leave out at a border: the reach, rounded up to whole tens."""
        return -(-self.reach // 10) * 10

    def __str__(self) -> str:
        return (
            f"the nearest neighbour of {self.share_within:.1%} of {self.n} pictures stands at most "
            f"{self.within} places off in file order (chance {self.chance:.1%}, p = {self.p:.3f}, "
            f"{self.permutations} shuffled orders)"
        )


def order_effect(
    features: NDArray[np.floating],
    part: NDArray[np.integer],
    seed: int = 0,
    within: int = WITHIN,
    permutations: int = PERMUTATIONS,
) -> OrderEffect:
    """Hold the places of nearest neighbours against those in shuffled orders.

    Args:
        features: (N, D), a row a picture, in natural file order; each column is standardised.
        part: (N,) the class of each picture. Neighbours are looked for within it, and places are
            counted within it.
        seed: of the shuffled orders.
        within: places that count as side by side.
        permutations: shuffled orders.

    Raises:
        DataError: when lengths differ, a value is not finite, or no class has three pictures.
    """
    _check(features, part)
    parts = [rows for value in np.unique(part) if len(rows := np.flatnonzero(part == value)) > 2]
    if not parts:
        raise DataError("The order of files can be judged where a class has three pictures.")
    nearest = np.full(len(features), -1, np.int64)
    ties, fading = [], []
    for rows in parts:
        unit = _standardised(features[rows])
        found = _nearest(unit)
        nearest[rows] = rows[found]
        ties.append(found)
        fading.append(_likeness(unit))
    distance = np.concatenate([np.abs(found - np.arange(len(found))) for found in ties])
    sizes = [len(found) for found in ties]
    share = float(np.mean(distance <= within))
    reaches = [
        max(_reach_of_nearest(found), _reach_of_likeness(excess))
        for found, excess in zip(ties, fading, strict=True)
    ]
    effect = OrderEffect(
        n=len(distance),
        within=within,
        share_within=share,
        chance=_chance(sizes, within),
        p=_p(ties, share, within, permutations, seed),
        permutations=permutations,
        seed=seed,
        median_distance=float(np.median(distance)),
        median_by_chance=_median_by_chance(sizes),
        curve=_curve(distance, sizes),
        likeness=tuple(float(one) for one in fading[int(np.argmax(reaches))]),
        reach=max(reaches),
        nearest=nearest,
    )
    return effect if effect.carries_patients else replace(effect, reach=0)


def _check(features: NDArray[np.floating], part: NDArray[np.integer]) -> None:
    if features.ndim != 2 or np.shape(part) != (len(features),):
        raise DataError(
            f"Expected features (N, D) and one class a row; got {features.shape} and "
            f"{np.shape(part)}."
        )
    if not np.isfinite(features).all():
        raise DataError("A feature is not finite; leave out pictures that could not be read.")


def _standardised(features: NDArray[np.floating]) -> NDArray[np.float32]:
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    spread = centred.std(axis=0)
    tells = spread > 1e-9 * max(float(spread.max()), 1e-300)
    unit: NDArray[np.float32] = (centred[:, tells] / spread[tells]).astype(np.float32)
    return unit


def _nearest(unit: NDArray[np.float32]) -> Places:
    """(N,) the other row at the least Euclidean distance."""
    squares = np.einsum("nd,nd->n", unit, unit)
    nearest = np.empty(len(unit), np.int64)
    for top in range(0, len(unit), _BLOCK):
        rows = np.arange(top, min(top + _BLOCK, len(unit)))
        distance = squares - 2 * unit[rows] @ unit.T
        distance[rows - top, rows] = np.inf
        nearest[rows] = distance.argmin(axis=1)
    return nearest


def _chance(sizes: list[int], within: int) -> float:
    """Share of pairs at most `within` apart when each class of these sizes is shuffled."""
    shares = []
    for n in sizes:
        near = min(within, n - 1)
        shares.append((2 * n * near - near * (near + 1)) / (n * (n - 1)))
    return float(np.average(shares, weights=sizes))


def _median_by_chance(sizes: list[int]) -> float:
    return next(float(d) for d in range(1, max(sizes)) if _chance(sizes, d) >= 0.5)


def _curve(distance: Places, sizes: list[int]) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(d, float(np.mean(distance <= d)), _chance(sizes, d))
        for d in _EDGES
        if d < max(sizes)
    )


def _p(ties: list[Places], share: float, within: int, permutations: int, seed: int) -> float:
    generator = numpy_generator(seed, _STREAM)
    n = sum(map(len, ties))
    as_large = 0
    for _ in range(permutations):
        near = 0
        for nearest in ties:
            place = generator.permutation(len(nearest))
            near += int(np.count_nonzero(np.abs(place - place[nearest]) <= within))
        as_large += near / n >= share
    return (1 + as_large) / (1 + permutations)


def _likeness(unit: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean correlation by lag (1, 2, ...) less that of any two pictures."""
    length = np.linalg.norm(unit, axis=1, keepdims=True)
    rows = unit / np.maximum(length, 1e-12)
    n = len(rows)
    of_any_two = (float(np.square(rows.sum(axis=0, dtype=np.float64)).sum()) - n) / (n * (n - 1))
    lags = range(1, min(_MOST_LAG, n // 2) + 1)
    mean = [float(np.einsum("nd,nd->n", rows[:-lag], rows[lag:]).mean()) for lag in lags]
    return np.array(mean) - of_any_two


def _reach_of_likeness(excess: NDArray[np.float64]) -> int:
    """The first lag from which the mean over a few lags is a trifle of what neighbours have."""
    if excess[0] <= 0:
        return 0
    for lag in range(len(excess)):
        if excess[lag : lag + _SMOOTH].mean() < _FADED * excess[0]:
            return lag
    return len(excess)


def _reach_of_nearest(nearest: Places) -> int:
    """The last distance, counted from 1 on, at which neighbours stand far more than by chance."""
    distance = np.abs(nearest - np.arange(len(nearest)))
    reach = 0
    for low, high in zip(_EDGES[:-1], _EDGES[1:], strict=True):
        if high > len(nearest) // 2:
            break
        share = np.mean((distance >= low) & (distance < high))
        by_chance = _chance([len(nearest)], high - 1) - _chance([len(nearest)], low - 1)
        if share < _TIMES_CHANCE * by_chance:
            break
        reach = high - 1
    return reach
