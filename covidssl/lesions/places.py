"""Where foci lie: a draw's quantiles turned into voxels of the lungs, by preference."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from covidssl.lesions.params import LesionParams

RIM_MM = 25.0
"""Depth under the pleura that counts as periphery."""

_FINE = 255.0
_COARSE = 40


def centres(inside: Tensor, params: LesionParams, voxel_mm: Tensor) -> Tensor:
    """Voxel at each focus's quantile, (B, K, D) float32 indices.

    Voxels are counted column by column (x first), so that places below one half lie on one side
    of the chest. Empty lungs give some voxel.

    Args:
        inside: (B, Y, X) or (B, Z, Y, X) bool, the lungs.
        params: B draws on the same device.
        voxel_mm: (B, D) float32.
    """
    weight = _weight(inside, params, voxel_mm)
    # Whole numbers, so that the sums are the same to the last bit everywhere.
    columns = weight.sum(-2).double()
    while columns.ndim > 2:
        columns = columns.sum(1)
    reached = columns.cumsum(1)
    wanted = params.place.double() * reached[:, -1:]
    x = torch.searchsorted(reached, wanted, right=True).clamp_(max=inside.shape[-1] - 1)
    before = (reached - columns).gather(1, x)
    row = torch.arange(len(inside), device=inside.device)[:, None]
    plane = weight.movedim(-1, 1)[row, x].flatten(2).double().cumsum(2)
    rest = (wanted - before)[:, :, None]
    voxel = torch.searchsorted(plane, rest, right=True)[:, :, 0].clamp_(max=plane.shape[2] - 1)
    height = inside.shape[-2]
    indices = [voxel % height, x] if inside.ndim == 3 else [voxel // height, voxel % height, x]
    return torch.stack(indices, dim=2).float()


def _weight(inside: Tensor, params: LesionParams, voxel_mm: Tensor) -> Tensor:
    """How likely each voxel is a centre: whole numbers from 1 in the lungs, 0 outside."""
    # Preferences change over centimetres: a coarse grid is fine enough for them.
    picks = [torch.arange(n, device=inside.device) for n in inside.shape[1:]]
    steps = [max(1, n // _COARSE) for n in inside.shape[1:]]
    coarse = inside
    for axis, step in enumerate(steps):
        coarse = coarse.index_select(axis + 1, picks[axis][::step])
    mm = voxel_mm * torch.tensor(steps, device=inside.device)
    dims = inside.ndim
    liking = _mix(_rim(coarse, mm), params.periphery)
    liking = liking * _mix(_along(coarse, -2).square(), params.dorsal)
    if dims == 4:
        liking = liking * _mix((1 - _along(coarse, 1)).square(), params.lower)
    liking = (liking * _FINE).floor_().clamp_(min=1)
    for axis, step in enumerate(steps):
        liking = liking.index_select(axis + 1, picks[axis] // step)
    return liking.mul_(inside)


def _mix(liking: Tensor, share: Tensor) -> Tensor:
    share = share.view(-1, *[1] * (liking.ndim - 1))
    return 1 - share + share * liking


def _along(inside: Tensor, axis: int) -> Tensor:
    """Place along an axis between the lungs' first (0) and last (1) voxel, shape to broadcast."""
    axis = axis % inside.ndim
    others = [k for k in range(1, inside.ndim) if k != axis]
    present = inside
    for k in others:
        present = present.any(k, keepdim=True)
    place = torch.arange(inside.shape[axis], device=inside.device, dtype=torch.float32)
    place = place.view(*[-1 if k == axis else 1 for k in range(inside.ndim)])
    first = torch.where(present, place, torch.inf).amin(axis, keepdim=True)
    last = torch.where(present, place, -torch.inf).amax(axis, keepdim=True)
    return ((place - first) / (last - first).clamp(min=1)).nan_to_num(0).clamp(0, 1)


def _rim(inside: Tensor, voxel_mm: Tensor) -> Tensor:
    """Nearness to the outline of the chest's inside, 0 far from it, about 1 at it.

    Each row is filled between its outermost lung voxels: the mediastinum's border is no pleura
    that lesions of COVID-19 prefer.
    """
    seen = inside.cumsum(-1, dtype=torch.int32)
    filled = (seen > 0) & (seen - inside.int() < seen[..., -1:])
    share, area = filled.int(), torch.ones((), dtype=torch.int32, device=inside.device)
    for axis in range(1, inside.ndim):
        place = torch.arange(inside.shape[axis], device=inside.device) * voxel_mm[:, axis - 1, None]
        near = (place[:, :, None] - place[:, None, :]).abs() <= RIM_MM
        share = _summed(share.movedim(axis, -1), near).movedim(-1, axis)
        shape = [-1 if k == axis else 1 for k in range(1, inside.ndim)]
        area = area * near.sum(2).view(len(near), *shape)
    return (2 * (1 - share / area)).clamp_(0.0, 1.0)


def _summed(lines: Tensor, near: Tensor) -> Tensor:
    """For each place of a line the sum over the places near it, (B, ..., n).

    By running sums of whole numbers: the same on every device and in every mode, which a matrix
    product in bfloat16 or TF32 is not.

    Args:
        lines: (B, ..., n) int32.
        near: (B, n, n) bool, for each place those near it, which follow each other.
    """
    running = pad(lines.cumsum(-1, dtype=torch.int32), (1, 0))
    first = near.int().argmax(2)
    shape = (len(near), *[1] * (lines.ndim - 2), -1)
    ends = [k.view(shape).expand(lines.shape) for k in (first + near.sum(2), first)]
    return running.gather(-1, ends[0]) - running.gather(-1, ends[1])
