"""What may tell a lesion in a frame: brightness, density, and what a restoration network says."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.decomposition import PCA

from covidssl.clean_slices import StoredPictures
from covidssl.frames import unit_from_frames
from covidssl.maps.lesion import Looked, dense_parts, lesion_scores, through_window
from covidssl.networks.unet import RestorationUNet
from covidssl.randomness import numpy_generator

SIGMA_PX = 1.0
BRIGHTNESS = "brightness"
"""The bar: the scan's own grey values, smoothed; of no window, so no threshold of it carries."""

WINDOWED = "brightness, one window"
DENSITY, PCA_SCORE = "density alone", "PCA reconstruction"
REMOVED, PREDICTED, LESION_MAP = "removal alone", "predicted map", "lesion map"
COMPONENTS = 64
_STREAM, _AT_ONCE = 301, 16

Planes = NDArray[np.float32]


class Said(NamedTuple):
    """Restored planes (N, size, size), network units, and the predicted map's chance, if any."""

    restored: Planes
    predicted: Planes | None


@torch.no_grad()
def restored(network: RestorationUNet, looked: Looked) -> Said:
    """What the network makes of slices that were brought to its window."""
    network.eval()
    units, maps = [], []
    for first in range(0, len(looked.frames), _AT_ONCE):
        unit = unit_from_frames(torch.from_numpy(looked.frames[first : first + _AT_ONCE]))
        said = network(unit[:, None])
        units.append(said.unit[:, 0].numpy())
        if said.lesion_logit is not None:
            maps.append(said.lesion_logit[:, 0].sigmoid().numpy())
    return Said(np.concatenate(units), np.concatenate(maps) if maps else None)


def scores_of(network: RestorationUNet, looked: Looked) -> dict[str, Planes]:
    """Every score of a network, planes (N, size, size)."""
    seen = through_window(looked)
    said = restored(network, seen)
    found = {
        LESION_MAP: lesion_scores(network, looked),
        REMOVED: smooth(_unit(seen) - said.restored),
    }
    return found if said.predicted is None else found | {PREDICTED: said.predicted}


def rivals_of(looked: Looked, components: PCA) -> dict[str, Planes]:
    """Every score that needs no restoration network, planes (N, size, size)."""
    seen = through_window(looked)
    unit = _unit(seen)
    flat = unit.reshape(len(unit), -1)
    again = components.inverse_transform(components.transform(flat)).reshape(unit.shape)
    return {
        WINDOWED: smooth(unit),
        DENSITY: dense_parts(looked),
        PCA_SCORE: smooth((unit - again).astype(np.float32)),
    }


def normal_components(pictures: StoredPictures, places: NDArray[np.int64]) -> PCA:
    """The main components of clean frames, those that a network learns from too."""
    frames = torch.cat([pictures[int(place)].frames for place in places])
    seed = int(numpy_generator(_STREAM).integers(2**31))
    flat = unit_from_frames(frames).reshape(len(frames), -1).numpy()
    count = min(COMPONENTS, len(frames))
    return PCA(count, svd_solver="randomized", random_state=seed).fit(flat)


def smooth(planes: NDArray[Any]) -> Planes:
    """Smoothed in the plane by `SIGMA_PX`."""
    return gaussian_filter(planes.astype(np.float32), (0, SIGMA_PX, SIGMA_PX))


def brightness(grey: NDArray[np.uint8]) -> Planes:
    """The bar, on the scan's own grid."""
    return smooth(grey)


def _unit(looked: Looked) -> Planes:
    return unit_from_frames(torch.from_numpy(looked.frames)).numpy()
