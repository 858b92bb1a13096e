"""Why the classifier said so: what each pixel adds to the logit, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from covidssl.networks.classifier import CovidClassifier


@torch.no_grad()
def class_evidence(network: CovidClassifier, unit: torch.Tensor) -> torch.Tensor:
    """What each pixel adds to the logit: (B, 1, [Z,] Y, X) -> (B, [Z,] Y, X), in logits a pixel.

    The head is linear in the pooled features of all levels, so the logit is a sum over pixels,
    exactly (class activation mapping, Zhou et al. 2016, over every level): a mean spreads its
    share over its level's pixels, a maximum lays its share on the one pixel that it came from.
    The sum over a frame is its logit less the head's bias. What lies on the border that the
    encoder pads is the last row's, of which that border is a copy.

    A scan's logit is the mean of its slices' with weights (`Aggregation.weights`): so the maps of
    all its slices, each times its weight, add up to the scan's logit less the bias.
    """
    network.eval()
    return evidence_of_levels(network, network.encoder(unit), unit)


@torch.no_grad()
def evidence_of_levels(
    network: CovidClassifier, levels: Sequence[torch.Tensor], unit: torch.Tensor
) -> torch.Tensor:
    """The same from what the encoder made of `unit` already: its levels, shallow ones first."""
    shape = unit.shape[2:]
    padded = network.encoder.padded(unit).shape[2:]
    weight = network.head.weight[0] / network.feature_scale
    total: torch.Tensor = torch.zeros((len(unit), *padded), device=unit.device)
    first = 0
    for features in levels:
        channels = features.shape[1]
        middle, top = first + channels, first + 2 * channels
        means, maxima = weight[first:middle], weight[middle:top]
        flat = features.flatten(2)
        centred = flat - network.feature_mean[first:middle, None]
        share = torch.einsum("c,bcp->bp", means, centred) / flat.shape[2]
        share = share + _at_maxima(flat, maxima, network.feature_mean[middle:top])
        total += _enlarge(share.view(len(unit), *features.shape[2:]), padded)
        first = top
    return _fold_padding(total, shape)


def _at_maxima(flat: torch.Tensor, weight: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Share (B, P) of the maxima of features (B, C, P)."""
    values, places = flat.max(dim=2)
    share = torch.zeros_like(flat[:, 0])
    return share.scatter_add_(1, places, (values - mean) * weight)


def _enlarge(share: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Bring (B, ...) to (B, *shape), keeping the sum: its edges divide those of `shape`."""
    for axis, edge in enumerate(shape, start=1):
        times = edge // share.shape[axis]
        share = share.repeat_interleave(times, dim=axis) / times
    return share


def _fold_padding(total: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Cut (B, ...) to (B, *shape), what is cut off added to the last row of each axis."""
    for axis, edge in enumerate(shape, start=1):
        beyond = total.narrow(axis, edge, total.shape[axis] - edge).sum(axis)
        total = total.narrow(axis, 0, edge).clone()
        total.select(axis, edge - 1).add_(beyond)
    return total
