"""Maps on the scan's own grid: voxel for voxel as the file has it, a byte each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from covidssl.box import Box
from covidssl.io.orient import upright_affine, upright_view
from covidssl.maps.planes import Planes
from covidssl.maps.scan_maps import ScanMaps
from covidssl.volume import StoredGrid, Volume

Bytes = NDArray[np.uint8]

_AT_ONCE = 16
_MIDDLE = 128
_SMOOTHED = 40  # of the frame's edge: the evidence of deep levels lies in blocks, of maxima in dots
_SAME = 1e-6


class Placed(NamedTuple):
    """A map on a grid; its value is `slope * voxel + intercept`.

    Attributes:
        voxels: (Z, Y, X) uint8, in the order of the scan's file.
        slope, intercept: from a byte to the value.
        unit: of the value, in words.
    """

    voxels: Bytes
    slope: float
    intercept: float
    unit: str


def stored_grid(ct: Volume) -> StoredGrid | None:
    """The grid of the scan's file; the upright one where that is not the scan's any more.

    None where nothing is known of how the scan lies: its voxels are taken as they are.
    """
    if ct.stored is not None and _is_of(ct.stored, ct):
        return ct.stored
    if ct.affine is None:
        return None
    slices, rows, columns = ct.array.shape
    return StoredGrid((slices, rows, columns), ct.affine)


def _is_of(stored: StoredGrid, ct: Volume) -> bool:
    empty = np.broadcast_to(np.uint8(0), stored.shape)
    if upright_view(empty, stored.affine).shape != ct.array.shape:
        return False
    turned = upright_affine(stored.shape, stored.affine)
    return ct.affine is None or np.allclose(turned, ct.affine, rtol=0, atol=_SAME)


def lesions_on_grid(maps: ScanMaps, ct: Volume, lungs: NDArray[np.bool_]) -> Placed | None:
    """The lesion map (0..1, network units) inside the lungs (Z, Y, X, upright); None if none."""
    if maps.lesion_planes is None:
        return None
    slope = 1 / 255
    voxels = _placed(maps.lesion_planes, maps.box, ct, _Scale(slope, 0), lungs)
    return Placed(voxels, slope, 0.0, "density above the expected, network units")


def evidence_on_grid(maps: ScanMaps, ct: Volume) -> Placed | None:
    """What each pixel of the frame adds to the scan's logit, smoothed for the eye.

    Between the slices that the classifier looked at it is interpolated.
    """
    planes = maps.evidence_planes
    if planes is None:
        return None
    width = planes.values.shape[-1] / _SMOOTHED
    smooth = gaussian_filter(planes.values, (0, width, width), mode="reflect")
    slope = float(np.abs(smooth).max()) / 127 or 1.0
    scale = _Scale(slope, _MIDDLE)
    voxels = _placed(Planes(smooth, planes.at, planes.reach), maps.box, ct, scale, None)
    return Placed(voxels, slope, -_MIDDLE * slope, "logits a pixel of the frame")


class _Scale(NamedTuple):
    slope: float
    zero: int

    def bytes_of(self, values: NDArray[np.float32]) -> Bytes:
        return np.rint(values / np.float32(self.slope) + self.zero).clip(0, 255).astype(np.uint8)


def _placed(
    planes: Planes, box: Box, ct: Volume, scale: _Scale, lungs: NDArray[np.bool_] | None
) -> Bytes:
    grid = stored_grid(ct)
    shape = ct.array.shape if grid is None else grid.shape
    voxels = np.full(shape, scale.zero, dtype=np.uint8)
    seen = voxels if grid is None else upright_view(voxels, grid.affine)
    slices = np.arange(len(ct.array))
    slices = slices[planes.reached(slices)]
    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
    for first in range(0, len(slices), _AT_ONCE):
        some = slices[first : first + _AT_ONCE]
        values = scale.bytes_of(_enlarged(planes.on(some), box))
        if lungs is not None:
            values *= lungs[some, rows, columns]
        seen[some, rows, columns] = values
    return voxels


def _enlarged(planes: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """Frames (N, size, size) on the pixels of their box: the way back from `frame_pixels`."""
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(planes)[:, None],
        size=(box.bottom - box.top, box.right - box.left),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    return resized[:, 0].numpy()
