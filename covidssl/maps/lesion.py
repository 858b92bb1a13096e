"""The label-free lesion map: what the restoration network takes off, and what is too dense."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from covidssl.frames import unit_from_frames
from covidssl.hounsfield import Pixels, Window, hu_to_unit
from covidssl.lungs.levels import AERATED_HU, TISSUE_HU
from covidssl.networks.unet import RestorationUNet

SMOOTHED_MM = 3.0
"""Standard deviation of the smoothing of both parts, inside the lungs alone."""

THICK_MM = 8.0
"""What is dense counts where a square of this edge fits into it: most vessels are thinner."""

DENSE_FROM = 0.3
"""Between aerated lung (0) and soft tissue (1): above it, tissue is denser than lung should be.
In HU, this is -597."""

_REMOVED_THICK_MM = 5.0
_USUAL_PERCENT = 30.0
_LEAST_TISSUE = 0.25  # network units above lung
_PIXELS_AT_ONCE = 2**18
_MOST_SAMPLED = 2**18
_STORED = 65535.0


class Looked(NamedTuple):
    """Frames of a scan for its lesion map.

    Attributes:
        frames: (N, size, size) uint16, as the classifier's.
        inside: (N, size, size) float32, share of lung in each pixel.
        pixels: what the scan's values mean.
        window_hu: through which HU reached the frames.
        pixel_mm: edge of a pixel; the mean of both.
    """

    frames: NDArray[np.uint16]
    inside: NDArray[np.float32]
    pixels: Pixels
    window_hu: Window
    pixel_mm: float


def lesion_scores(network: RestorationUNet, looked: Looked) -> NDArray[np.float32]:
    """How much of a lesion there is in each pixel (N, size, size), network units, 0 or more.

    It is the sum of two parts, each smoothed within the lungs: what the restoration network takes
    off, less what it takes off ordinary lung of this scan; and density above what lung has, which
    finds consolidation that the network takes for chest wall. Vessels thinner than `THICK_MM` are
    in neither. The dome of the liver inside a lung mask is in both.

    Values reach a few pixels beyond the lungs; whoever shows them cuts them there.

    Args:
        network: restores slices, or volumes: then the N planes are one.
        looked: the frames.
    """
    network.eval()
    device = next(network.parameters()).device
    removed = np.concatenate(list(_removed(network, looked, device)))
    usual = max(_percentile(removed[_sample(looked.inside)]), 0.0)
    dense = _dense_from(looked)
    scores = np.empty(looked.frames.shape, dtype=np.float32)
    for rows in _parts(looked.frames):
        unit = unit_from_frames(torch.from_numpy(looked.frames[rows]).to(device))[:, None]
        inside = torch.from_numpy(looked.inside[rows]).to(device)[:, None]
        off = torch.from_numpy(removed[rows]).to(device).float()[:, None]
        parts = (
            _thick((off - usual).clamp_min(0) * (inside >= 0.5), _REMOVED_THICK_MM, looked),
            _thick((unit - dense).clamp_min(0) * (inside >= 0.5), THICK_MM, looked),
        )
        scores[rows] = _within(parts[0] + parts[1], inside, looked)[:, 0].cpu().numpy()
    return scores


@torch.no_grad()
def _removed(
    network: RestorationUNet, looked: Looked, device: torch.device
) -> Iterator[NDArray[np.float16]]:
    """What the network takes off (n, size, size), part by part, each plane once."""
    if network.encoder.plan.dimensions == 3:
        unit = unit_from_frames(torch.from_numpy(looked.frames).to(device))[None, None]
        yield (unit - network(unit).unit)[0, 0].half().cpu().numpy()
        return
    for rows in _parts(looked.frames):
        unit = unit_from_frames(torch.from_numpy(looked.frames[rows]).to(device))[:, None]
        yield (unit - network(unit).unit)[:, 0].half().cpu().numpy()


def _dense_from(looked: Looked) -> float:
    """The network units from which on tissue is denser than lung should be."""
    if looked.pixels is Pixels.HU:
        ends = hu_to_unit(np.array([AERATED_HU, TISSUE_HU]), looked.window_hu)
        lung, tissue = (float(end) for end in ends)
    else:
        # Nobody knows the window: the scan's own lung and its own tissue beside it tell it.
        lung = _percentile(looked.frames[_sample(looked.inside)]) / _STORED
        beside = looked.frames[_sample(1 - looked.inside, 0.95)] / _STORED
        beside = beside[beside > lung + _LEAST_TISSUE]
        tissue = float(np.median(beside)) if beside.size else 1.0
    return lung + DENSE_FROM * (tissue - lung)


def _sample(share: NDArray[np.float32], least: float = 0.5) -> tuple[NDArray[np.intp], ...]:
    """Places of pixels with at least that share, evenly thinned out where they are very many."""
    places = np.flatnonzero(share >= least)
    thinned = places[:: max(1, len(places) // _MOST_SAMPLED)]
    return np.unravel_index(thinned, share.shape)


def _percentile(values: NDArray[np.generic]) -> float:
    """Of ordinary lung: disease is denser, and mostly in less than two thirds of it."""
    if not values.size:
        return 0.0
    return float(np.percentile(np.asarray(values, dtype=np.float32), _USUAL_PERCENT))


def _parts(frames: NDArray[np.uint16]) -> Iterator[slice]:
    step = max(1, _PIXELS_AT_ONCE // math.prod(frames.shape[1:]))
    for first in range(0, len(frames), step):
        yield slice(first, first + step)


def _thick(excess: torch.Tensor, thick_mm: float, looked: Looked) -> torch.Tensor:
    """What of (B, 1, H, W), 0 or more, is left of an opening by a square of so many mm."""
    edge = max(2, round(thick_mm / looked.pixel_mm))
    kept = -functional.max_pool2d(-excess, edge, stride=1)
    padded = functional.pad(kept, (edge - 1,) * 4)
    return functional.max_pool2d(padded, edge, stride=1)


def _within(values: torch.Tensor, inside: torch.Tensor, looked: Looked) -> torch.Tensor:
    """Smooth (B, 1, H, W) inside the lungs alone: what lies outside does not count."""
    sigma = SMOOTHED_MM / looked.pixel_mm
    radius = max(1, math.ceil(2.5 * sigma))
    steps = torch.arange(-radius, radius + 1, device=values.device, dtype=values.dtype)
    bell = torch.exp(-0.5 * (steps / sigma) ** 2)
    both = torch.cat([values * inside, inside], dim=1)
    kernel = (bell / bell.sum()).expand(2, 1, -1)
    rows = functional.conv2d(both, kernel[:, :, :, None], padding=(radius, 0), groups=2)
    smooth = functional.conv2d(rows, kernel[:, :, None, :], padding=(0, radius), groups=2)
    return smooth[:, :1] / smooth[:, 1:].clamp_min(1e-3)
