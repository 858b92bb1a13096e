"""All randomness of the lesion engine: from ranges and a generator to draws."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from covidssl.lesions.params import INTEGERS, PER_FOCUS, LesionParams
from covidssl.lesions.ranges import LesionRanges

_LOGARITHMIC = (
    "edge_mm", "feature_mm", "texture_mm", "radius_mm", "elongation", "depth", "mesh_mm",
    "mesh_width_mm",
)  # fmt: skip
_SINGLE = tuple(name for name in LesionParams._fields if name not in PER_FOCUS)
_OF_THE_SET = ("is_clean", "is_bilateral", "side")


def sample(ranges: LesionRanges, generator: torch.Generator, n: int) -> LesionParams:
    """Draw the lesions of `n` pictures, on the CPU; a draw does not depend on how many follow it.

    Args:
        ranges: what to draw from.
        generator: a CPU generator, see `covidssl.randomness`; it is advanced.
        n: how many draws.
    """
    foci, single = ranges.foci[1], (*_SINGLE, *_OF_THE_SET)
    # One call, row after row: the first draws stay the same when more are asked for.
    width = len(single) + foci * len(PER_FOCUS)
    uniform = torch.rand((n, width), generator=generator, dtype=torch.float64)
    columns = dict(zip(single, uniform[:, : len(single)].T, strict=True))
    blocks = uniform[:, len(single) :].reshape(n, len(PER_FOCUS), foci).unbind(1)
    columns |= dict(zip(PER_FOCUS, blocks, strict=True))
    is_clean, is_bilateral, side = (columns.pop(name) for name in _OF_THE_SET)
    columns["place"] = torch.where(
        (is_bilateral < ranges.bilateral)[:, None],
        _alternating(columns["place"], side),
        columns["place"],
    )
    drawn = {name: _spread(name, ranges, values) for name, values in columns.items()}
    drawn["foci"] = drawn["foci"].masked_fill(is_clean < ranges.clean_share, 0)
    return LesionParams(**drawn)


def _alternating(place: Tensor, side: Tensor) -> Tensor:
    """Places in turn in the lower and in the upper half of [0, 1), starting with either."""
    turn = (torch.arange(place.shape[1]) + (side < 0.5).long()[:, None]) % 2
    return (place + turn) / 2


def _spread(name: str, ranges: LesionRanges, uniform: Tensor) -> Tensor:
    """Uniform draws in [0, 1) turned into draws of a field of the params."""
    if name == "seed":
        return (uniform * 2.0**53).long()
    if name == "kind":
        weights = torch.tensor(ranges.kinds.weights, dtype=torch.float64)
        ends = weights.cumsum(0) / weights.sum()
        # The last kind that may occur is not left out because its end was rounded below 1.
        last = int(weights.nonzero().max())
        return torch.searchsorted(ends, uniform.contiguous(), right=True).clamp(max=last)
    if name == "place":
        return uniform.float().clamp(max=1 - 2.0**-24)
    if name == "angle_deg":
        return (uniform * 180).float()
    low, high = getattr(ranges, name)
    if name in INTEGERS:
        return low + (uniform * (high - low + 1)).long().clamp(max=high - low)
    if name in _LOGARITHMIC:
        return (low * (uniform * math.log(high / low)).exp()).float()
    return (low + uniform * (high - low)).float()
