"""From a slice of any size to the square frame that a network sees.

The frame is the same for pretraining, fine-tuning and prediction: crop about the lungs (over the
whole scan, so that the zoom does not change from slice to slice), shrink to a square. Neither the
size, nor the aspect ratio, nor the field of view of a picture reaches the network that way.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from covidssl.box import Box
from covidssl.hounsfield import LUNG_WINDOW_HU, Pixels, Window, to_unit

ADULT_LUNGS_WIDTH_MM = 270.0
"""Width of both lungs together in an adult; gives a scale in mm to pictures that carry none."""


class Frame(BaseModel):
    """How a slice becomes a network's input; travels in the card of every network.

    Attributes:
        size: edge of the square frame in pixels.
        depth: slices of a frame that is a volume, evenly over the lungs; None: a frame is a slice.
        crop: about the lungs, or the whole picture.
        margin: kept around the lungs, as a share of their width and height.
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


def frame_pixels(
    slices: NDArray[np.generic], pixels: Pixels, box: Box, frame: Frame
) -> NDArray[np.uint16]:
    """Crop and shrink slices (N, Y, X) of either kind to (N, size, size).

    Values are network units in [0, 1] scaled to 0..65535, so that frames stay small in memory.
    """
    unit = to_unit(slices[:, box.top : box.bottom, box.left : box.right], pixels, frame.window_hu)
    return np.round(_resize(unit, frame.size) * 65535.0).astype(np.uint16)


def frame_mask(masks: NDArray[np.bool_], box: Box, frame: Frame) -> NDArray[np.bool_]:
    """Crop and shrink masks (N, Y, X) to (N, size, size); a pixel is in when half of it is."""
    cropped = masks[:, box.top : box.bottom, box.left : box.right].astype(np.float32)
    return _resize(cropped, frame.size) >= 0.5


def unit_from_frames(frames: torch.Tensor) -> torch.Tensor:
    """Network units (float32 in [0, 1]) of stored frames (uint16)."""
    return frames.to(torch.float32) / 65535.0


def _resize(unit: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    # Anti-aliased, so that a large original does not come out sharper than a small one.
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(unit))[:, None],
        size=(size, size),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    return resized[:, 0].clamp(0.0, 1.0).numpy()
