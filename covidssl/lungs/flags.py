"""What looks wrong with a mask of the lungs, in plain words and with the numbers.

Scans and single pictures are judged by different measures: a picture may be cut off tightly, may
lie at the bottom of one lung, and has no volume. A slab of a chest has none either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.lungs.shapes import without_holes

Mask = NDArray[np.bool_]
Sides = NDArray[np.uint8]
Shares = NDArray[np.float64]

_LITRES = (0.8, 11.0)
_WHOLE_CHEST_MM = 180.0
_CUT = 0.25  # of the largest slice's lungs, in an end slice: the scan ends inside the lungs


class Flag(NamedTuple):
    """Something about a mask that is hardly ever true of lungs.

    Attributes:
        code: one word for tables: `volume`, `left_right`, `one_side`, `holes`, `border`, `jump`.
        text: the same with numbers, for people.
    """

    code: str
    text: str


class _Bounds(NamedTuple):
    """What is still believed.

    Attributes:
        ratio: left by right lung, lowest and highest.
        side: a lung is missing below this share of both.
        least: share of the picture below which sides are not compared.
        holes: area of holes by area of the mask.
        border: pixels on the picture's border by the square root of the lung area.
    """

    ratio: tuple[float, float]
    side: float
    least: float
    holes: float
    border: float


_SCAN = _Bounds((0.3, 2.5), 0.05, 0.0, 0.12, 1.2)
_PICTURE = _Bounds((0.12, 8.0), 0.04, 0.2, 0.15, 3.0)
_STEP = 0.5
_LOSS = 0.5
_STEEP = 2.0  # times the steps beside it: no slope of a healthy lung, however thick the slices
_LEAST_SLICES = 20  # in fewer, healthy lungs change by half from one to the next


def flags_of(
    mask: Mask, sides: Sides | None, spacing_mm: tuple[float, float, float] | None
) -> tuple[Flag, ...]:
    """Everything that looks wrong with a mask (Z, Y, X) that holds something.

    Args:
        mask: of both lungs.
        sides: 0, 1 (right) and 2 (left) on the same grid; None where they are not told apart.
        spacing_mm: voxel size (z, y, x); None where not known.
    """
    bounds = _PICTURE if len(mask) == 1 else _SCAN
    area = mask.sum(axis=(1, 2), dtype=np.float64)
    lungs = [mask] if sides is None else [sides == side for side in (1, 2)]
    found = [*_volume(area, spacing_mm), *_holes(lungs, bounds), *_border(mask, area, bounds)]
    if sides is not None and area.max() >= bounds.least * mask[0].size:
        found += _left_right(sides, bounds)
    return (*found, *_jump(area))


def _volume(area: Shares, spacing_mm: tuple[float, float, float] | None) -> Iterator[Flag]:
    if spacing_mm is None or len(area) * spacing_mm[0] < _WHOLE_CHEST_MM:
        return
    if max(area[0], area[-1]) > _CUT * area.max():
        return
    litres = float(area.sum() * np.prod(spacing_mm) / 1e6)
    low, high = _LITRES
    if not low <= litres <= high:
        yield Flag("volume", f"the lungs hold {litres:.1f} litres, expected {low} to {high}")


def _left_right(sides: Sides, bounds: _Bounds) -> Iterator[Flag]:
    right, left = (int(np.count_nonzero(sides == side)) for side in (1, 2))
    for name, share in (("right", right / (right + left)), ("left", left / (right + left))):
        if share < bounds.side:
            text = f"the {name} lung is {share:.0%} of both, expected {bounds.side:.0%} or more"
            yield Flag("one_side", text)
            return
    low, high = bounds.ratio
    if not low <= left / right <= high:
        text = f"the left lung is {left / right:.2f} times the right one, expected {low} to {high}"
        yield Flag("left_right", text)


def _holes(lungs: Sequence[Mask], bounds: _Bounds) -> Iterator[Flag]:
    # Each lung by itself: two that touch in front and behind hold the heart between them.
    voxels = sum(np.count_nonzero(lung) for lung in lungs)
    filled = sum(np.count_nonzero(without_holes(lung)) for lung in lungs)
    holes = filled / voxels - 1
    if holes > bounds.holes:
        text = f"holes in the mask are {holes:.0%} of it, expected {bounds.holes:.0%} at most"
        yield Flag("holes", text)


def _border(mask: Mask, area: Shares, bounds: _Bounds) -> Iterator[Flag]:
    edges = (mask[:, 0], mask[:, -1], mask[:, 1:-1, 0], mask[:, 1:-1, -1])
    contact = np.sum([edge.sum(axis=1, dtype=np.float64) for edge in edges], axis=0)
    held = area > 0
    typical = float(np.median(contact[held] / np.sqrt(area[held])))
    if typical > bounds.border:
        text = (
            f"the mask lies along the picture's border: {typical:.1f} times the root of its area, "
            f"expected {bounds.border} at most"
        )
        yield Flag("border", text)


def _jump(area: Shares) -> Iterator[Flag]:
    """Slices from one to the next of which much lung comes or goes, or is lost in one slice."""
    if len(area) < _LEAST_SLICES:
        return
    most = area.max()
    beside = np.minimum(area[:-2], area[2:])
    lost = np.where(beside > 0.3 * most, 1 - area[1:-1] / np.maximum(beside, 1), 0)
    if lost.max() > _LOSS:
        z = int(np.argmax(lost)) + 1
        text = (
            f"slice {z + 1} of {len(area)} lacks {lost[z - 1]:.0%} of the lungs of its neighbours, "
            f"expected {_LOSS:.0%} at most"
        )
        yield Flag("jump", text)
        return
    steps = np.abs(np.diff(area)) / most
    slope = np.pad(steps, 1)
    slope = np.maximum(slope[:-2], slope[2:])
    steps = np.where(steps > _STEEP * slope, steps, 0)
    if steps.max() > _STEP:
        z = int(np.argmax(steps))
        text = (
            f"from slice {z + 1} to {z + 2} of {len(area)} the lungs change by {steps[z]:.0%} of "
            f"the largest slice, expected {_STEP:.0%} at most"
        )
        yield Flag("jump", text)
