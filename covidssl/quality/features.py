"""What an encoder sees of frames: every level pooled by its mean and its maximum."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from covidssl.frames import unit_from_frames
from covidssl.networks.encoder import Encoder

_MOST_FRAMES, _MOST_PIXELS = 64, 2**20  # that go through the encoder at once

Features = NDArray[np.float32]


@torch.no_grad()
def level_features(encoder: Encoder, frames: NDArray[np.uint16]) -> list[Features]:
    """Pooled features of each level, (N, 2 x channels) each, shallow levels first.

    Args:
        encoder: on its device; it is put into evaluation.
        frames: (N, Y, X) slices or (N, Z, Y, X) volumes, network units scaled to 0..65535.
    """
    encoder.eval()
    device = next(encoder.parameters()).device
    batch = min(_MOST_FRAMES, max(1, _MOST_PIXELS // math.prod(frames.shape[1:])))
    pooled: list[list[torch.Tensor]] = [[] for _ in encoder.channels]
    for first in range(0, len(frames), batch):
        unit = unit_from_frames(torch.from_numpy(frames[first : first + batch]).to(device))
        for rows, level in zip(pooled, encoder(unit[:, None]), strict=True):
            axes = tuple(range(2, level.ndim))
            rows.append(torch.cat((level.mean(axes), level.amax(axes)), dim=1).float().cpu())
    return [torch.cat(rows).numpy() for rows in pooled]


def mean_of_scans(features: Features, scan_of: NDArray[np.int64]) -> Features:
    """Means (S, F) of the features (N, F) of each scan's frames; `scan_of` (N,) is 0..S-1."""
    counts = np.bincount(scan_of)
    sums = np.zeros((len(counts), features.shape[1]), np.float64)
    np.add.at(sums, scan_of, features)
    means: Features = (sums / counts[:, None]).astype(np.float32)
    return means
