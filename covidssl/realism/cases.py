"""The design cases of MedSeg's nine volumes as stacks of slices in nominal HU.

Cases 1 and 3 show lesions, case 6 hardly any. Cases 2, 4 and 7 are kept for tests of localisation:
nothing is chosen on them, so nothing here opens them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covidssl.box import Box, lungs_box
from covidssl.errors import DataError, UsageError
from covidssl.frames import ADULT_LUNGS_WIDTH_MM
from covidssl.hounsfield import Pixels
from covidssl.io import read_ct, read_mask
from covidssl.realism.normalise import anchors, nominal_hu

DISEASED_CASES = (1, 3)
NORMAL_CASE = 6
DESIGN_CASES = (*DISEASED_CASES, NORMAL_CASE)
BLOCKS = 10
"""Blocks of neighbouring slices in a scan; what is resampled together."""

_LEAST_LUNG_MM2 = 4000.0
_MARGIN_PX = 32
_MOST_SLICES = 120
# Its slices are stored from the apex down, though the header says upwards.
_APEX_FIRST = (1,)


@dataclass(frozen=True)
class Stack:
    """Slices of one kind, with what is needed to describe the lesions in them.

    Attributes:
        name: of the group, as in tables.
        hu: (N, H, W) float32 nominal HU.
        lungs: (N, H, W) bool, lesions included.
        lesions: (N, H, W) bool.
        pixel_mm: edge of a pixel, both lungs together taken for 270 mm wide.
        level: (N,) place between apex (0) and base (1).
        cluster: (N,) int64, case x block of neighbouring slices: not independent within.
    """

    name: str
    hu: NDArray[np.float32]
    lungs: NDArray[np.bool_]
    lesions: NDArray[np.bool_]
    pixel_mm: float
    level: NDArray[np.float64]
    cluster: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp]) -> Stack:
        """Some of the slices, in the order given."""
        return replace(
            self,
            hu=self.hu[rows],
            lungs=self.lungs[rows],
            lesions=self.lesions[rows],
            level=self.level[rows],
            cluster=self.cluster[rows],
        )


def read_case(folder: Path, case: int) -> Stack:
    """One design case, cropped about the lungs; slices with little lung or no anchors left out.

    Of a case with very many slices every second or third is taken, since neighbours repeat
    each other.

    Args:
        folder: with `case<k>_image.nii.gz`, `_lung` and `_infection`.
        case: 1, 3 or 6.

    Raises:
        UsageError: when the case is none of the design cases.
        DataError: when no slice of it can be used.
    """
    if case not in DESIGN_CASES:
        raise UsageError(
            f"Case {case} is kept for tests; pseudo-lesions are judged on cases "
            f"{', '.join(map(str, DESIGN_CASES))} alone."
        )
    image, lungs, lesions = _read(folder, case)
    # Over the whole scan: the lungs' width is the scale.
    box = lungs_box(lungs)
    if box is None:
        raise DataError(f"case {case}: its mask holds no lungs.")
    pixel_mm = ADULT_LUNGS_WIDTH_MM / (box.right - box.left)
    area = lungs.sum((1, 2)) * pixel_mm**2
    shown = np.flatnonzero(area >= _LEAST_LUNG_MM2)
    shown = shown[:: -(-len(shown) // _MOST_SLICES)]
    level, block = _heights(lungs, shown, case)
    window = _around(box, image.shape)
    slices, kept = [], []
    for row, z in enumerate(shown):
        found = anchors(image[z], lungs[z], lesions[z])
        if found is not None:
            slices.append(nominal_hu(image[z][window], found))
            kept.append(row)
    if not kept:
        raise DataError(f"case {case}: no slice shows both aerated lung and soft tissue.")
    rows = shown[kept]
    return Stack(
        f"case {case}", np.stack(slices), lungs[rows][:, *window], lesions[rows][:, *window],
        pixel_mm, level[kept], case * 100 + block[kept],
    )  # fmt: skip


def without_lesions(stack: Stack) -> Stack:
    """The slices of a normal case, the few marked ones left out."""
    return stack.take(np.flatnonzero(~stack.lesions.any((1, 2))))


def _read(
    folder: Path, case: int
) -> tuple[NDArray[np.generic], NDArray[np.bool_], NDArray[np.bool_]]:
    """Image, lungs (lesions included) and lesions of a case, (Z, Y, X) each."""
    image = read_ct(folder / f"case{case}_image.nii.gz", Pixels.WINDOWED).array
    lesions = read_mask(folder / f"case{case}_infection.nii.gz").array.astype(bool)
    lungs = read_mask(folder / f"case{case}_lung.nii.gz").array.astype(bool)
    if not image.shape == lungs.shape == lesions.shape:
        raise DataError(
            f"case {case}: image {image.shape}, lungs {lungs.shape} and lesions {lesions.shape} "
            "do not lie on one grid."
        )
    return image, lungs | lesions, lesions


def _heights(
    lungs: NDArray[np.bool_], shown: NDArray[np.intp], case: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Place between apex and base, and number of the block, of the slices shown."""
    with_lung = np.flatnonzero(lungs.any((1, 2)))
    up = (shown - with_lung[0]) / max(int(with_lung[-1] - with_lung[0]), 1)
    level = up if case in _APEX_FIRST else 1 - up
    return level, np.minimum((level * BLOCKS).astype(np.int64), BLOCKS - 1)


def _around(box: Box, shape: tuple[int, ...]) -> tuple[slice, slice]:
    return (
        slice(max(box.top - _MARGIN_PX, 0), min(box.bottom + _MARGIN_PX, shape[1])),
        slice(max(box.left - _MARGIN_PX, 0), min(box.right + _MARGIN_PX, shape[2])),
    )
