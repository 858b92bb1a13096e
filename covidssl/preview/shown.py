"""The slices of a preview, cut and ready to be drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from covidssl.augment import to_hu
from covidssl.clean_slices import StoredFrames
from covidssl.errors import DataError
from covidssl.frames import unit_from_frames
from covidssl.hounsfield import Pixels
from covidssl.lesions import LesionParams, Rendered, render
from covidssl.pack import Pack
from covidssl.preview.drawing import Plan
from covidssl.store import Store


class Shown(NamedTuple):
    """The slices of a preview.

    Attributes:
        names: of the scans, one a slice.
        indexes: places of the slices in their scans, counted from the feet.
        clean_hu: (B, 1, H, W) HU.
        lungs: (B, 1, H, W) bool.
        pixel_mm: (B, 2) height and width of a pixel.
        nominal: whether the HU are those that an 8-bit slice is taken for.
        slice_mm: from one slice to the next, of slices that are rendered as one volume; None:
            each slice is rendered on its own.
    """

    names: Sequence[str]
    indexes: Sequence[int]
    clean_hu: Tensor
    lungs: Tensor
    pixel_mm: Tensor
    nominal: bool
    slice_mm: float | None = None

    def render(self, params: LesionParams) -> Rendered:
        """The slices with these lesions, a draw a slice, or one through all; (B, 1, H, W) each."""
        if self.slice_mm is None:
            return render(self.clean_hu, self.lungs, params, self.pixel_mm)
        voxel_mm = torch.tensor([[self.slice_mm, *self.pixel_mm[0].tolist()]])
        volume, lungs = (part.transpose(0, 1)[None] for part in (self.clean_hu, self.lungs))
        return Rendered(
            *(part[0].transpose(0, 1) for part in render(volume, lungs, params, voxel_mm))
        )

    def rows(self, params: LesionParams) -> list[dict[str, Any]]:
        """The draw of each slice as plain numbers."""
        rows = params.rows()
        return rows if self.slice_mm is None else rows * len(self.names)


def shown_slices(stored: StoredFrames, plan: Plan) -> Shown:
    """The slices of a plan.

    Raises:
        DataError: when a slab's slices are not known to lie any distance apart.
    """
    places = plan.places
    lines = [stored.store.slices[place] for place in places]
    items = [stored[place] for place in places]
    frames, lungs, pixel_mm = (torch.stack(parts) for parts in zip(*items, strict=True))
    return Shown(
        [line.scan for line in lines],
        [line.index for line in lines],
        to_hu(unit_from_frames(frames), stored.frame.window_hu),
        lungs,
        pixel_mm,
        stored.frame.pixels is Pixels.WINDOWED,
        _slice_mm(stored.store, lines[0].scan) if plan.slab else None,
    )


def _slice_mm(store: Store | Pack, scan: str) -> float:
    if not isinstance(store, Store):
        raise DataError("A pack knows no distance of slices; a slab needs the store itself.")
    distance = next(row.spacing_z_mm for row in store.manifest if row.scan == scan)
    if distance is None:
        raise DataError(f"{scan}: the distance of its slices is not known; a slab needs it.")
    return distance
