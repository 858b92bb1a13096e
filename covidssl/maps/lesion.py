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

SMOOTHED_MM = 2.0
"""Standard deviation of the smoothing of both parts, inside the lungs alone."""

THICK_MM = 8.0
"""What is dense counts where a square of this edge fits into it: most vessels are thinner."""

DENSE_FROM = 0.3
"""Between aerated lung (0) and soft tissue (1): above it, tissue is denser than lung should be.
In HU, this is -597."""

_REMOVED_THICK_MM = 5.0
_USUAL_PERCENT = 30.0
_LEAST_TISSUE = 0.25  # network units above lung
_LEAST_PIXELS = 60
_LEVEL_SHARES = (0.85, 1.1)
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

    Values reach a few pixels beyond the lungs; whoever shows them cuts them there. Of a scan whose
    window nobody knows, each plane is first brought to the frames' window (`through_window`).

    Args:
        network: restores slices, or volumes: then the N planes are one.
        looked: the frames.
    """
    looked = through_window(looked)
    network.eval()
    device = next(network.parameters()).device
    removed = np.concatenate(list(_removed(network, looked, device)))
    usual = max(_percentile(removed[_sample(looked.inside)]), 0.0)
    dense = _dense_from(looked.window_hu)
    scores = np.empty(looked.frames.shape, dtype=np.float32)
    for rows in _parts(looked.frames):
        unit = unit_from_frames(torch.from_numpy(looked.frames[rows]).to(device))[:, None]
        inside = torch.from_numpy(looked.inside[rows]).to(device)[:, None]
        off = torch.from_numpy(removed[rows]).to(device).float()[:, None]
        both = _thick((off - usual).clamp_min(0) * (inside >= 0.5), _REMOVED_THICK_MM, looked)
        both += _thick((unit - dense).clamp_min(0) * (inside >= 0.5), THICK_MM, looked)
        scores[rows] = _within(both, inside, looked)[:, 0].cpu().numpy()
    return scores


def dense_parts(looked: Looked) -> NDArray[np.float32]:
    """The second part of `lesion_scores` alone, which needs no network: what is too dense."""
    looked = through_window(looked)
    dense = _dense_from(looked.window_hu)
    scores = np.empty(looked.frames.shape, dtype=np.float32)
    for rows in _parts(looked.frames):
        unit = unit_from_frames(torch.from_numpy(looked.frames[rows]))[:, None]
        inside = torch.from_numpy(looked.inside[rows])[:, None]
        excess = _thick((unit - dense).clamp_min(0) * (inside >= 0.5), THICK_MM, looked)
        scores[rows] = _within(excess, inside, looked)[:, 0].numpy()
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


def through_window(looked: Looked) -> Looked:
    """The same planes, seen through the frames' window; HU are so already.

    Nobody knows the window of pictures, and it may change from slice to slice. What the network
    takes off depends on it: brighter lungs look ill all over. So each plane's own aerated lung and
    tissue come to lie where they lie in HU. A plane that shows too little of either takes the
    levels of its neighbours; lung that is brighter against tissue than in the scan's other planes
    by more than a tenth is disease, and stays so.
    """
    if looked.pixels is Pixels.HU:
        return looked
    lung, tissue = _levels(looked)
    aim_lung, aim_tissue = _aims(looked.window_hu)
    scale = (aim_tissue - aim_lung) / np.maximum(tissue - lung, _LEAST_TISSUE)
    frames = np.empty_like(looked.frames)
    for plane, values in enumerate(looked.frames):
        unit = (values / np.float32(_STORED) - lung[plane]) * scale[plane] + aim_lung
        frames[plane] = np.rint(unit.clip(0, 1) * _STORED)
    return looked._replace(frames=frames, pixels=Pixels.HU)


def _levels(looked: Looked) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Network units (N,) of aerated lung and of tissue beside it, plane by plane."""
    found = np.full((2, len(looked.frames)), np.nan, dtype=np.float32)
    for plane, (values, inside) in enumerate(zip(looked.frames, looked.inside, strict=True)):
        within = values[inside > 0.9] / _STORED
        if within.size < _LEAST_PIXELS:
            continue
        lung = _percentile(within)
        beside = values[inside < 0.05] / _STORED
        beside = beside[beside > lung + _LEAST_TISSUE]
        if beside.size >= _LEAST_PIXELS:
            found[:, plane] = lung, np.median(beside)
    known = np.flatnonzero(np.isfinite(found[0]))
    if not known.size:
        # No plane tells both: the lung of all of them, and the brightest there can be.
        lung = _percentile(looked.frames[_sample(looked.inside)]) / _STORED
        return np.full_like(found[0], lung), np.ones_like(found[1])
    places = np.arange(len(looked.frames))
    tissue = np.interp(places, known, found[1, known])
    share = np.interp(places, known, found[0, known] / found[1, known])
    share = share.clip(*(np.median(share[known]) * np.array(_LEVEL_SHARES)))
    return (share * tissue).astype(np.float32), tissue.astype(np.float32)


def _aims(window_hu: Window) -> tuple[float, float]:
    """Network units of aerated lung and of soft tissue."""
    lung, tissue = hu_to_unit(np.array([AERATED_HU, TISSUE_HU]), window_hu)
    return float(lung), float(tissue)


def _dense_from(window_hu: Window) -> float:
    """The network units from which on tissue is denser than lung should be."""
    lung, tissue = _aims(window_hu)
    return lung + DENSE_FROM * (tissue - lung)


def _sample(share: NDArray[np.float32]) -> tuple[NDArray[np.intp], ...]:
    """Places of pixels with half of it or more, evenly thinned out where they are very many."""
    places = np.flatnonzero(share >= 0.5)
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
