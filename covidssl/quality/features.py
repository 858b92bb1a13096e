"""What an encoder sees of frames: every level pooled by its mean and its maximum."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from covidssl.diagnosis import in_batches
from covidssl.networks.classifier import pooled_levels
from covidssl.networks.encoder import Encoder

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
    found = [pooled_levels(encoder(unit)) for unit in in_batches(frames, device)]
    return [
        torch.cat([rows.float().cpu() for rows in level]).numpy()
        for level in zip(*found, strict=True)
    ]


def mean_of_scans(features: Features, scan_of: NDArray[np.int64]) -> Features:
    """Means (S, F) of the features (N, F) of each scan's frames; `scan_of` (N,) is 0..S-1."""
    counts = np.bincount(scan_of)
    sums = np.zeros((len(counts), features.shape[1]), np.float64)
    np.add.at(sums, scan_of, features)
    means: Features = (sums / counts[:, None]).astype(np.float32)
    return means
