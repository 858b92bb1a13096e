"""Chests of simple shapes, of known densities, and folders of cases made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covidssl.hounsfield import Pixels
from covidssl.io import write_volume
from covidssl.realism.cases import Stack
from covidssl.volume import Volume

SIZE = 128
PIXEL_MM = 270.0 / 101


def disc(y: float, x: float, radius: float, size: int = SIZE) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[:size, :size]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def lungs(height: float = 30.0) -> NDArray[np.bool_]:
    """Two ellipses, together 101 pixels wide."""
    rows, columns = np.ogrid[:SIZE, :SIZE]
    sides = [
        ((rows - 64) / height) ** 2 + ((columns - middle) / 21) ** 2 <= 1 for middle in (35, 93)
    ]
    return sides[0] | sides[1]


def chest_hu(inside: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """Air, fat, muscle, a vertebra, lung at -850 and soft tissue at 40 HU, with noise."""
    rows, columns = np.ogrid[:SIZE, :SIZE]
    body = ((rows - 64) / 48) ** 2 + ((columns - 64) / 61) ** 2
    hu = np.full((SIZE, SIZE), -1000.0)
    hu[body <= 1] = -100.0
    hu[body <= 0.92] = 40.0
    hu[disc(104, 64, 6)] = 400.0
    hu[inside] = -850.0
    return (hu + rng.normal(0, 15, hu.shape)).astype(np.float32)


def as_stack(hu: NDArray[np.float32], mask: NDArray[np.bool_], pixel_mm: float = 1.5) -> Stack:
    """One slice that is all lung, `mask` its lesion."""
    return Stack(
        "one", hu[None].astype(np.float32), np.ones_like(mask)[None], mask[None], pixel_mm,
        np.array([0.5]), np.array([101]),
    )  # fmt: skip


def write_cases(folder: Path) -> Path:
    """A `medseg-9` of simple chests; what may not be opened is no NIfTI at all."""
    medseg = folder / "medseg-9"
    medseg.mkdir(parents=True)
    for case in (1, 3, 6):
        _write_case(medseg, case)
    for case in (2, 4, 7):
        for kind in ("image", "lung", "infection"):
            (medseg / f"case{case}_{kind}.nii.gz").write_bytes(b"kept for tests")
    return folder


def _write_case(folder: Path, case: int) -> None:
    rng = np.random.default_rng(case)
    slices = 14
    # Small at the apex; case 1 is stored from the apex down, the others from the base up.
    heights = np.linspace(20, 36, slices) if case == 1 else np.linspace(36, 20, slices)
    inside = np.stack([lungs(height) for height in heights])
    hu = np.stack([chest_hu(own, rng) for own in inside])
    marked = np.zeros_like(inside)
    if case != 6:
        for n in range(2, 12):
            marked[n] = (disc(72, 22, 7) | disc(58, 45, 4)) & inside[n]
        hu[marked] = -100 + rng.normal(0, 60, int(marked.sum()))
    grey = np.clip((hu + 1350) / 1500 * 255, 0, 255).astype(np.uint8)
    for kind, array in (("image", grey), ("lung", inside), ("infection", marked)):
        pixels = Pixels.WINDOWED if kind == "image" else None
        write_volume(Volume(array, pixels), folder / f"case{case}_{kind}.nii.gz")
