"""From a slice of any size to the square frame that a network sees, or from a scan to a volume.

The frame is the same for pretraining, fine-tuning and prediction: crop about the lungs (over the
whole scan, so that the zoom does not change from slice to slice), shrink to a square. Neither the
size, nor the aspect ratio, nor the field of view of a picture reaches the network that way. A frame
that is a volume is cropped and resized along the body in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from covidssl.box import Box, Region
from covidssl.hounsfield import LUNG_WINDOW_HU, Pixels, Window, to_unit

Unit = NDArray[np.float32]

ADULT_LUNGS_WIDTH_MM = 270.0
"""Width of both lungs together in an adult; gives a scale in mm to pictures that carry none."""

ADULT_LUNGS_HEIGHT_MM = 250.0
"""Height of an adult's lungs, for the same purpose along the body."""


class Frame(BaseModel):
    """How a slice, or a volume, becomes a network's input; travels in the card of every network.

    Attributes:
        size: edge of the square frame in pixels.
        depth: slices of a frame that is a volume, evenly over the lungs; None: a frame is a slice.
        crop: about the lungs, or the whole picture.
        margin: kept around the lungs, as a share of their extent along each axis.
        pixels: the kind of pixel that the network was trained on.
        window_hu: the window through which HU reach the network.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(128, ge=32, le=1024)
    depth: int | None = Field(None, ge=8, le=512)
    crop: Literal["lungs", "none"] = "lungs"
    margin: float = Field(0.12, ge=0.0, le=1.0)
    pixels: Pixels = Pixels.WINDOWED
    window_hu: Window = LUNG_WINDOW_HU

    @field_validator("window_hu")
    @classmethod
    def _is_a_window(cls, window: Window) -> Window:
        if not (np.isfinite(window).all() and window[0] < window[1]):
            raise ValueError("a window goes from its lower to its upper end in HU")
        return window

    @property
    def dimensions(self) -> Literal[2, 3]:
        """Of a frame: 2 for a slice, 3 for a volume."""
        return 2 if self.depth is None else 3

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a frame: (size, size), or (depth, size, size)."""
        square = (self.size, self.size)
        return square if self.depth is None else (self.depth, *square)

    def box(self, lungs: Box | None, height: int, width: int) -> Box:
        """The rectangle of a (height, width) picture that the frame shows."""
        if self.crop == "none" or lungs is None:
            return Box(0, height, 0, width)
        pad_y = round(self.margin * (lungs.bottom - lungs.top))
        pad_x = round(self.margin * (lungs.right - lungs.left))
        return Box(
            max(lungs.top - pad_y, 0),
            min(lungs.bottom + pad_y, height),
            max(lungs.left - pad_x, 0),
            min(lungs.right + pad_x, width),
        )

    def region(self, lungs: Region | None, shape: tuple[int, ...]) -> Region:
        """The block of a scan of `shape` (Z, Y, X) that a frame shows which is a volume."""
        if self.crop == "none" or lungs is None:
            return Region(range(shape[0]), self.box(None, *shape[1:]))
        first, last = lungs.slices.start, lungs.slices.stop
        pad = round(self.margin * (last - first))
        slices = range(max(first - pad, 0), min(last + pad, shape[0]))
        return Region(slices, self.box(lungs.box, *shape[1:]))

    def pixel_mm(
        self, box: Box, lungs: Box | None, spacing_mm: tuple[float, float] | None
    ) -> tuple[float, float]:
        """Size (y, x) in mm of one pixel of the frame.

        Where the spacing is not known, both lungs together are taken for 270 mm wide.
        """
        if spacing_mm is None:
            width = (lungs or box).right - (lungs or box).left
            spacing_mm = (ADULT_LUNGS_WIDTH_MM / max(width, 1),) * 2
        return (
            spacing_mm[0] * (box.bottom - box.top) / self.size,
            spacing_mm[1] * (box.right - box.left) / self.size,
        )

    def voxel_mm(
        self,
        region: Region,
        lungs: Region | None,
        z_mm: float | None,
        spacing_mm: tuple[float, float] | None,
    ) -> tuple[float, float, float]:
        """Size (z, y, x) in mm of one voxel of a frame that is a volume.

        Where the slices' distance `z_mm` is not known, the lungs are taken for 250 mm high.
        """
        if self.depth is None:
            raise ValueError("A frame without a depth shows slices: see `pixel_mm`.")
        if z_mm is None:
            z_mm = ADULT_LUNGS_HEIGHT_MM / len((lungs or region).slices)
        z = z_mm * len(region.slices) / self.depth
        return z, *self.pixel_mm(region.box, lungs.box if lungs else None, spacing_mm)


def frame_pixels(
    slices: NDArray[np.generic], pixels: Pixels, box: Box, frame: Frame
) -> NDArray[np.uint16]:
    """Crop and shrink slices (N, Y, X) of either kind to (N, size, size).

    Values are network units in [0, 1] scaled to 0..65535, so that frames stay small in memory.
    """
    return _stored(unit_planes(slices, pixels, box, frame))


def frame_mask(masks: NDArray[np.bool_], box: Box, frame: Frame) -> NDArray[np.bool_]:
    """Crop and shrink masks (N, Y, X) to (N, size, size); a pixel is in when half of it is."""
    return mask_planes(masks, box, frame) >= 0.5


def frame_volume(
    scan: NDArray[np.generic], pixels: Pixels, region: Region, frame: Frame
) -> NDArray[np.uint16]:
    """Crop and resize a scan (Z, Y, X) of either kind to (depth, size, size), as slices are."""
    slices = scan[region.slices.start : region.slices.stop]
    return planes_to_volume(unit_planes(slices, pixels, region.box, frame), frame)


def frame_volume_mask(mask: NDArray[np.bool_], region: Region, frame: Frame) -> NDArray[np.bool_]:
    """Crop and resize a mask (Z, Y, X) to (depth, size, size); half of a voxel is enough."""
    slices = mask[region.slices.start : region.slices.stop]
    return planes_to_mask(mask_planes(slices, region.box, frame), frame)


def unit_planes(slices: NDArray[np.generic], pixels: Pixels, box: Box, frame: Frame) -> Unit:
    """Slices (N, Y, X), cropped and shrunk to (N, size, size), in network units."""
    # One by one, so that a scan of many slices takes no more memory than its frame.
    return _planes(slices, box, frame, lambda part: to_unit(part, pixels, frame.window_hu))


def mask_planes(masks: NDArray[np.bool_], box: Box, frame: Frame) -> Unit:
    """Masks (N, Y, X), cropped and shrunk to (N, size, size): shares of each pixel."""
    return _planes(masks, box, frame, lambda part: part.astype(np.float32))


def planes_to_volume(planes: Unit, frame: Frame) -> NDArray[np.uint16]:
    """Resize neighbouring planes (N, size, size) along the body to (depth, size, size)."""
    return _stored(_along_body(planes, frame))


def planes_to_mask(planes: Unit, frame: Frame) -> NDArray[np.bool_]:
    """The same of planes of a mask."""
    return _along_body(planes, frame) >= 0.5


def places_along(slices: range, depth: int) -> NDArray[np.int64]:
    """The slice of the scan that lies nearest to each plane (depth,) of a volume."""
    nearest = np.rint(heights_along(slices, depth)).astype(np.int64)
    return np.clip(nearest, slices.start, slices.stop - 1)


def heights_along(slices: range, depth: int) -> NDArray[np.float64]:
    """Where each plane (depth,) of a volume lies, counted in slices of the scan."""
    middles = (np.arange(depth) + 0.5) * len(slices) / depth - 0.5
    return np.asarray(slices.start + middles, dtype=np.float64)


def unit_from_frames(frames: torch.Tensor) -> torch.Tensor:
    """Network units (float32 in [0, 1]) of stored frames (uint16)."""
    return frames.to(torch.float32) / 65535.0


def _stored(unit: Unit) -> NDArray[np.uint16]:
    return np.round(unit * 65535.0).astype(np.uint16)


def _planes(
    slices: NDArray[Any], box: Box, frame: Frame, convert: Callable[[NDArray[Any]], Unit]
) -> Unit:
    planes = np.empty((len(slices), frame.size, frame.size), dtype=np.float32)
    for place, one in enumerate(slices):
        cropped = convert(one[box.top : box.bottom, box.left : box.right])
        planes[place] = _resize(cropped[None, None], (frame.size, frame.size))[0, 0]
    return planes


def _along_body(planes: Unit, frame: Frame) -> Unit:
    if frame.depth is None:
        raise ValueError("A frame without a depth shows slices, not a volume.")
    # Planes lie as rows: a row is a slice, and its pixels keep their places.
    rows = planes.reshape(1, 1, len(planes), frame.size**2)
    return _resize(rows, (frame.depth, frame.size**2)).reshape(frame.depth, *planes.shape[1:])


def _resize(unit: Unit, size: tuple[int, int]) -> Unit:
    # Anti-aliased, so that a large original does not come out sharper than a small one.
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(unit)),
        size=size,
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    return resized.clamp(0.0, 1.0).numpy()
