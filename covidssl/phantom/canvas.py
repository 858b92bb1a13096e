"""A grid in mm on which shapes of a given density are painted with soft, partial-volume edges."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covidssl.hounsfield import AIR_HU

Array = NDArray[np.float32]


@dataclass
class Canvas:
    """A chest in the making.

    Attributes:
        hu: (Z, Y, X) float32 HU, painted in place.
        x: (1, 1, X) mm from the midline, towards the patient's left.
        y: (1, Y, 1) mm from the middle of the body, towards the back.
        z: (Z, 1, 1) mm from the underside of the lowest slice, towards the head.
        spacing_mm: voxel size (z, y, x).
    """

    hu: Array
    x: Array
    y: Array
    z: Array
    spacing_mm: tuple[float, float, float]

    @classmethod
    def empty(cls, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Canvas:
        """Nothing but air."""
        slices, rows, columns = (np.arange(n, dtype=np.float32) for n in shape)
        return cls(
            hu=np.full(shape, AIR_HU, dtype=np.float32),
            x=((columns - (shape[2] - 1) / 2) * spacing_mm[2])[None, None, :],
            y=((rows - (shape[1] - 1) / 2) * spacing_mm[1])[None, :, None],
            z=((slices + 0.5) * spacing_mm[0])[:, None, None],
            spacing_mm=spacing_mm,
        )

    @property
    def pixel_mm(self) -> float:
        """Width of a soft edge: the side of a pixel."""
        return math.sqrt(self.spacing_mm[1] * self.spacing_mm[2])

    @property
    def top_mm(self) -> float:
        """Upper side of the highest slice."""
        return self.hu.shape[0] * self.spacing_mm[0]

    def height(self) -> Array:
        """Height of each slice, (Z, 1, 1), as a share of the whole: one slice alone is at 0.5."""
        return self.z / np.float32(self.top_mm)

    def cover(self, level_mm: Array) -> Array:
        """Share of each voxel inside a shape, from its depth below the shape's surface in mm."""
        return np.clip(level_mm / np.float32(self.pixel_mm) + np.float32(0.5), 0, 1)

    def paint(self, level_mm: Array, hu: float | Array) -> None:
        """Fill a shape, given by the depth below its surface in mm, with a density."""
        self.blend(self.cover(level_mm), hu)

    def blend(self, share: Array, hu: float | Array) -> None:
        """Move every voxel towards a density by a share of 0 to 1."""
        self.hu += share * (np.asarray(hu, dtype=np.float32) - self.hu)

    def ellipse(
        self,
        centre: tuple[float | Array, float | Array],
        radii: tuple[float | Array, float | Array],
    ) -> Array:
        """Depth (mm) in an upright elliptic cylinder; (x, y) numbers or a (Z, 1, 1) each."""
        across, down = (self.x - centre[0]) / radii[0], (self.y - centre[1]) / radii[1]
        depth = (1 - np.sqrt(across * across + down * down)) * np.minimum(radii[0], radii[1])
        return np.asarray(depth, dtype=np.float32)

    def paint_tube(
        self, start: NDArray[np.floating], end: NDArray[np.floating], radius: float, hu: float
    ) -> None:
        """Fill a round-ended tube between two points (x, y, z) in mm."""
        for box, depth in self._tube(start, end, radius):
            share = np.clip(depth / self.pixel_mm + 0.5, 0, 1)
            self.hu[box] += share * (np.float32(hu) - self.hu[box])

    def _tube(
        self, start: NDArray[np.floating], end: NDArray[np.floating], radius: float
    ) -> list[tuple[tuple[slice, slice, slice], Array]]:
        """The box about a tube and the depth in it; empty when it misses the grid."""
        margin = radius + self.pixel_mm
        half = self.spacing_mm[0] / 2
        low, high = np.minimum(start, end) - margin, np.maximum(start, end) + margin
        axes = (self.z.ravel(), self.y.ravel(), self.x.ravel())
        pads = (half, 0.0, 0.0)
        box = tuple(
            slice(
                int(np.searchsorted(axis, low[2 - k] - pads[k])),
                int(np.searchsorted(axis, high[2 - k] + pads[k], side="right")),
            )
            for k, axis in enumerate(axes)
        )
        if any(part.start >= part.stop for part in box):
            return []
        z, y, x = (axis[part] for axis, part in zip(axes, box, strict=True))
        run = end - start
        dx, dy = x[None, None, :] - start[0], y[None, :, None] - start[1]
        dz = z[:, None, None] - start[2]
        along = (dx * run[0] + dy * run[1] + dz * run[2]) / max(float(run @ run), 1e-6)
        along = np.clip(along, 0, 1)
        # A slice is a slab: what passes anywhere through its thickness is in it.
        off = np.maximum(np.abs(dz - along * run[2]) - half, 0)
        distance = np.sqrt((dx - along * run[0]) ** 2 + (dy - along * run[1]) ** 2 + off**2)
        return [((box[0], box[1], box[2]), (radius - distance).astype(np.float32))]
