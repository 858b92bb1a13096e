"""The lungs of one scan, and whether they may be used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covidssl.lungs.flags import Flag
from covidssl.volume import Volume

RIGHT, LEFT = 1, 2


@dataclass(frozen=True)
class Lungs:
    """The lungs of one scan.

    Attributes:
        mask: bool, on the scan's grid.
        slice_share: lung area by picture area of every slice, (Z,) float32.
        problem: why the whole mask is empty or absurd, in plain words; None when it is not.
        sides: (Z, Y, X) uint8, 0 outside, 1 the patient's right lung, 2 the left one; None where
            nobody told them apart.
        flags: what looks wrong with the mask.
        spacing_known: whether the mask's spacing may be believed; not that of an 8-bit volume
            which says 1 mm all round.
    """

    mask: Volume
    slice_share: NDArray[np.float32]
    problem: str | None
    sides: NDArray[np.uint8] | None = None
    flags: tuple[Flag, ...] = ()
    spacing_known: bool = True

    @property
    def usable(self) -> bool:
        """Whether the mask may be used: a flagged one is shown, not used."""
        return self.problem is None and not self.flags

    @property
    def complaint(self) -> str | None:
        """The problem, or all flags, in plain words; None for a usable mask."""
        return self.problem or "; ".join(flag.text for flag in self.flags) or None

    @property
    def litres(self) -> float | None:
        """Volume of the mask; None where the spacing is not known."""
        if self.mask.spacing_mm is None or not self.spacing_known:
            return None
        return float(np.count_nonzero(self.mask.array) * np.prod(self.mask.spacing_mm) / 1e6)

    @property
    def left_right(self) -> float | None:
        """Volume of the left lung by that of the right; None where either is not known or empty."""
        if self.sides is None:
            return None
        counts = np.bincount(self.sides.reshape(-1), minlength=3)
        return float(counts[LEFT] / counts[RIGHT]) if counts[RIGHT] and counts[LEFT] else None
