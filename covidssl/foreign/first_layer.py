"""The first layer of a foreign network, for a picture of one channel in [-1, 1].

A foreign network sees x = (u - mean_c) / std_c in channel c, u being the grey value in [0, 1]; an
encoder of covidssl feeds c = 2 u - 1. A convolution is linear, so that its filters can be summed
over the channels and scaled; what is left is one constant a filter, the same wherever the filter
lies wholly inside the picture. At the border the two differ: the foreign network pads by the grey
value that becomes 0, an encoder of covidssl by the middle of its window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Seen(NamedTuple):
    """How a foreign network saw a grey value u in [0, 1]: (u - mean) / std, one of each a channel.

    Attributes:
        mean: what was taken away from each channel.
        std: by what each channel was then divided.
    """

    mean: Sequence[float]
    std: Sequence[float]


IMAGENET = Seen(IMAGENET_MEAN, IMAGENET_STD)
FROM_0_TO_1 = Seen((0.0,), (1.0,))


def fold(weight: torch.Tensor, seen: Seen) -> tuple[torch.Tensor, torch.Tensor]:
    """A first convolution for 2 u - 1 in one channel.

    Args:
        weight: filters (O, C, ...) for C channels.
        seen: what the C channels were.

    Returns:
        Filters (O, 1, ...), and the constant (O,) that must be added to what they give: the same
        sum as before, where a filter lies inside the picture.
    """
    exact = weight.double()
    shape = (1, -1, *[1] * (weight.ndim - 2))
    mean = torch.tensor(seen.mean, dtype=torch.float64).view(shape)
    std = torch.tensor(seen.std, dtype=torch.float64).view(shape)
    # u = (c + 1) / 2, so (u - mean) / std = c / (2 std) + (1/2 - mean) / std.
    filters = (exact / (2 * std)).sum(dim=1, keepdim=True)
    constant = (exact * (0.5 - mean) / std).flatten(1).sum(dim=1)
    return filters.to(weight.dtype), constant.to(weight.dtype)
