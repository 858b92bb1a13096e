"""Clean slices or volumes as every pretext gets them."""

from __future__ import annotations

from typing import NamedTuple

import torch


class CleanSlices(NamedTuple):
    """A batch of clean slices (B, 1, Y, X), or of clean volumes (B, 1, Z, Y, X).

    Attributes:
        frames: uint16, network units scaled to 0..65535.
        lungs: bool, of the same shape.
        pixel_mm: (B, 2) or (B, 3) size of a pixel along each axis in mm.
    """

    frames: torch.Tensor
    lungs: torch.Tensor
    pixel_mm: torch.Tensor
