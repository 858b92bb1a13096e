"""A batch laid out for drawing: the box about the lungs, places in mm, draws on both sides."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from covidssl.lesions.params import LesionParams

Box = tuple[slice, ...]

_RIM_VOXELS = 2.0


class Scene(NamedTuple):
    """What the drawing of every kind of lesion needs to know.

    Pictures have the shape (B, y, x) or (B, z, y, x) of the box.

    Attributes:
        draws: on the CPU, where decisions are made without waiting for a device.
        params: the same draws on the device of the pictures.
        mm: (B, D) size of a voxel, on the CPU.
        size: of the whole pictures.
        box: the part of them that is drawn on, with the batch as its first axis.
        axes: for each axis, places of the box's voxels in mm, (B, size of the box).
        inside: bool, the lungs.
        reach: voxels along each axis that a dense lesion may reach beyond the lungs.
    """

    draws: LesionParams
    params: LesionParams
    mm: Tensor
    size: tuple[int, ...]
    box: Box
    axes: list[Tensor]
    inside: Tensor
    reach: list[int]


def lay_out(inside: Tensor, params: LesionParams, voxel_mm: Tensor) -> Scene:
    """The scene of a batch whose lungs are `inside`, (B, Y, X) or (B, Z, Y, X) bool."""
    draws, mm, size = params.to("cpu"), voxel_mm.to("cpu", torch.float32), tuple(inside.shape[1:])
    margin = margin_mm(draws.swallow_mm, mm)[:, None]
    # What lies at the margin itself is no longer reached.
    farthest = (margin / mm).amax(0).ceil().tolist() if len(mm) else [1.0] * len(size)
    reach = [max(0, min(int(far), n) - 1) for far, n in zip(farthest, size, strict=True)]
    box = _about(inside, reach)
    on_device = mm.to(inside.device)
    axes = [
        torch.arange(n, device=inside.device)[part] * on_device[:, axis, None]
        for axis, (n, part) in enumerate(zip(size, box[1:], strict=True))
    ]
    return Scene(draws, params.to(inside.device), mm, size, box, axes, inside[box], reach)


def margin_mm(swallow_mm: Tensor, mm: Tensor) -> Tensor:
    """How far beyond the lungs dense lesions fade out, (n,), from voxel sizes (n, D).

    Voxels next to the lung mask are partly air: left alone they would be a dark line about what is
    filled. So whatever is swallowed, the next voxel is filled, and the one across a corner in part.
    """
    return torch.maximum(swallow_mm, _RIM_VOXELS * mm[:, -2:].amax(1))


def wide(values: Tensor, scene: Scene) -> Tensor:
    """One number a picture, (n,), in a shape that broadcasts over pictures."""
    return values.view(-1, *[1] * len(scene.size))


def _about(inside: Tensor, reach: list[int]) -> Box:
    """The smallest box that holds all lungs of the batch and what may be reached from them."""
    whole: list[slice] = [slice(None)] * inside.ndim
    # On a GPU reading the bounds would make the host wait, which costs more than the margin.
    if inside.device.type != "cpu":
        return tuple(whole)
    present = inside.any(0)
    for axis, far in enumerate(reach):
        line = present
        for other in reversed([k for k in range(len(reach)) if k != axis]):
            line = line.any(other)
        found = line.nonzero()
        first, last = (int(found[0]), int(found[-1])) if len(found) else (0, 0)
        whole[axis + 1] = slice(max(first - far, 0), last + far + 1)
    return tuple(whole)
