"""How far inside its nearest focus a voxel lies, for the foci of one kind at a time.

Only pictures that hold a kind are worked on for it: `rows` says which, those with most foci first,
so that the pictures with a further focus are always the first few.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from covidssl.lesions.params import LesionParams


class KindFoci(NamedTuple):
    """The foci of one kind in a batch.

    Attributes:
        rows: (n,) int64, pictures that hold the kind, those with most foci of it first.
        columns: for each further focus, the place among the picture's foci, (m,) int64 for the
            first m of `rows`.
    """

    rows: Tensor
    columns: list[Tensor]


def foci_of(params: LesionParams, kind: int) -> KindFoci | None:
    """Where the foci of a kind are, from draws on the CPU; None when there are none."""
    slots = torch.arange(params.kind.shape[1])
    present = (params.kind == kind) & (slots < params.foci[:, None])
    counts = present.sum(1)
    rows = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
    if len(rows) == 0:
        return None
    order = (~present[rows]).int().argsort(dim=1, stable=True)
    counts = counts[rows]
    columns = [order[: int((counts > j).sum()), j] for j in range(int(counts[0]))]
    return KindFoci(rows, columns)


def ellipses(params: LesionParams) -> Tensor:
    """All foci of some draws as quadratic forms, (B, K, 5) float32 on their device.

    The last axis holds along, slant, across, flat and the radius in mm: the squared distance is
    (along x + slant y)^2 + across y^2 + flat z^2, and the outline lies where it is the radius's.
    """
    turn = torch.deg2rad(params.angle_deg.double())
    sine, cosine = turn.sin(), turn.cos()
    long, short = 1 / params.elongation.double(), params.elongation.double()
    of_x = cosine * cosine * long + sine * sine * short
    of_both = sine * cosine * (long - short)
    along = of_x.sqrt()
    # The form's determinant is 1 (elongation keeps the area): completing the square is simple.
    flat = 1 / params.depth.double().square()
    forms = (along, of_both / along, 1 / of_x, flat, params.radius_mm.double())
    return torch.stack(forms, dim=2).float()


def level_mm(axes: Sequence[Tensor], centres_mm: Tensor, forms: Tensor, foci: KindFoci) -> Tensor:
    """How far (mm) each voxel lies inside the nearest focus, (n, Y, X) or (n, Z, Y, X).

    Args:
        axes: for each axis, places of the voxels in mm, (B, size).
        centres_mm: (B, K, D).
        forms: of all foci, see `ellipses`.
        foci: of one kind, with index tensors on the device of the rest.
    """
    geometry = torch.cat([forms, centres_mm], dim=2)
    places = [axis[foci.rows] for axis in axes]
    levels = torch.empty(0)
    for number, focus in enumerate(foci.columns):
        parts = geometry[foci.rows[: len(focus)], focus][:, :, None].unbind(1)
        along, slant, across, flat, radius = parts[:5]
        offsets = [
            place[: len(focus)] - centre for place, centre in zip(places, parts[5:], strict=True)
        ]
        y, x = offsets[-2], offsets[-1]
        distance = (along * x)[:, None, :] + (slant * y)[:, :, None]
        distance.mul_(distance).add_((across * y * y)[:, :, None])
        if len(axes) == 3:
            distance = distance[:, None] + (flat * offsets[0].square())[:, :, None, None]
        distance.sqrt_().neg_().add_(radius.view(-1, *[1] * len(axes)))
        if number == 0:
            levels = distance
        else:
            torch.maximum(levels[: len(focus)], distance, out=levels[: len(focus)])
    return levels
