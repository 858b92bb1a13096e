"""The cases of MedSeg's volumes on their own grid, and as the frames that a network sees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from covidssl.box import Box, lungs_box
from covidssl.errors import DataError
from covidssl.frames import Frame, frame_pixels, mask_planes
from covidssl.hounsfield import Pixels
from covidssl.io import read_ct, read_mask
from covidssl.maps.lesion import Looked

DESIGN_CASES = (1, 3, 6)
TEST_CASES = (2, 4, 7)
RUNS_OF_SLICES = 20
"""Runs of neighbouring slices in a scan; what is resampled together."""

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One scan, upright, with its drawn lungs and what is marked in them.

    Attributes:
        number: of the case.
        grey: (Z, Y, X) uint8.
        lungs: (Z, Y, X) bool, the given mask: only its pixels are judged.
        marked: (Z, Y, X) bool.
        box: the rectangle that a network's frames show.
    """

    number: int
    grey: NDArray[np.uint8]
    lungs: NDArray[np.bool_]
    marked: NDArray[np.bool_]
    box: Box

    @property
    def lesion(self) -> NDArray[np.bool_]:
        """(N,) which pixels of the lungs are marked."""
        return self.marked[self.lungs]

    @property
    def run(self) -> NDArray[np.int64]:
        """(N,) which run of neighbouring slices each pixel of the lungs lies in, 0..G-1."""
        shown = np.flatnonzero(self.lungs.any((1, 2)))
        run_of = np.zeros(len(self.lungs), dtype=np.int64)
        run_of[shown] = np.arange(len(shown)) * min(RUNS_OF_SLICES, len(shown)) // len(shown)
        return np.repeat(run_of, self.lungs.sum((1, 2)))

    def inside(self, values: NDArray[Any]) -> Values:
        """(N,) of the pixels of the lungs, from values (Z, Y, X) on the scan's grid."""
        return np.asarray(values[self.lungs], dtype=np.float32)

    def placed(self, planes: Values) -> Values:
        """(N,) of the pixels of the lungs, from planes (Z, size, size) of the frames."""
        height, width = self.box.bottom - self.box.top, self.box.right - self.box.left
        whole = np.zeros(self.grey.shape[1:], dtype=np.float32)
        parts = []
        for plane, lungs in zip(planes, self.lungs, strict=True):
            large = torch.nn.functional.interpolate(
                torch.from_numpy(np.ascontiguousarray(plane))[None, None],
                size=(height, width),
                mode="bilinear",
                antialias=True,
                align_corners=False,
            )
            whole[self.box.top : self.box.bottom, self.box.left : self.box.right] = large[0, 0]
            parts.append(whole[lungs])
        return np.concatenate(parts)


class Marked(NamedTuple):
    """What a measure needs to know of a case's pixels: marked or not, (N,), and the run, (N,)."""

    lesion: NDArray[np.bool_]
    run: NDArray[np.int64]


def read_localised(folder: Path, number: int, frame: Frame) -> Case:
    """One case.

    Args:
        folder: with `case<k>_image.nii.gz`, `_lung` and `_infection`.
        number: of the case.
        frame: of the network.

    Raises:
        DataError: when the files do not lie on one grid, or the mask holds no lungs.
    """
    image = read_ct(folder / f"case{number}_image.nii.gz", Pixels.WINDOWED).array
    lungs = read_mask(folder / f"case{number}_lung.nii.gz").array.astype(bool)
    marked = read_mask(folder / f"case{number}_infection.nii.gz").array.astype(bool)
    if not image.shape == lungs.shape == marked.shape:
        raise DataError(
            f"{folder}: case {number}: image {image.shape}, lungs {lungs.shape} and infection "
            f"{marked.shape} do not lie on one grid. Fetch the case again."
        )
    around = lungs_box(lungs)
    if around is None:
        raise DataError(f"{folder}: case {number}: its mask holds no lungs. Fetch it again.")
    box = frame.box(around, *image.shape[1:])
    return Case(number, np.asarray(image, np.uint8), lungs, marked, box)


def looked_at(case: Case, frame: Frame) -> Looked:
    """All slices of a case as frames; the window of its grey values is not known."""
    around = lungs_box(case.lungs)
    return Looked(
        frame_pixels(case.grey, Pixels.WINDOWED, case.box, frame),
        mask_planes(case.lungs, case.box, frame),
        Pixels.WINDOWED,
        frame.window_hu,
        float(np.mean(frame.pixel_mm(case.box, around, None))),
    )
