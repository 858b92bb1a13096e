"""Frozen features: every level of an encoder, pooled over the frame and over the lungs in it."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from covidssl.diagnosis import in_batches
from covidssl.files import write_bytes
from covidssl.networks.encoder import Encoder
from covidssl.training import keep_freed_memory
from pipelines.study.targets import TargetSet, View

Features = NDArray[np.float32]

_VERSION = 1  # raise it when features are pooled otherwise


@torch.no_grad()
def lung_features(encoder: Encoder, target: TargetSet) -> Features:
    """Mean and deviation of every level's features inside the lungs: (N, 2 x all channels).

    A pixel of a level counts by its share of lung; an image whose lungs were not found counts
    whole. Shallow levels come first, of each the means, then the deviations.
    """
    encoder.eval()
    device = next(encoder.parameters()).device
    if device.type == "cpu":
        keep_freed_memory()
    parts, at = [], 0
    for unit in in_batches(target.frames, device):
        lungs = torch.from_numpy(target.lungs[at : at + len(unit)]).to(device, unit.dtype)
        at += len(unit)
        empty = lungs.flatten(1).sum(1) == 0
        lungs[empty] = 1.0
        parts.append(_pooled(encoder(unit), lungs[:, None]))
    return np.concatenate(parts)


def kept_features(file: Path, encoder: Encoder, target: TargetSet) -> Features:
    """The same, kept in a file that is named after the encoder, the set and the view."""
    if file.is_file():
        found: Features = np.load(file, allow_pickle=False)
        return found
    features = lung_features(encoder, target)
    file.parent.mkdir(parents=True, exist_ok=True)
    held = BytesIO()
    np.save(held, features, allow_pickle=False)
    write_bytes(file, held.getvalue())
    return features


def feature_file(runs: Path, encoder_sha256: str, target: TargetSet, view: View) -> Path:
    """Where features are kept: by the encoder, and by every pixel that it sees."""
    seen = hashlib.sha256(f"{_VERSION}".encode())
    for array in (target.frames, target.lungs):
        seen.update(np.ascontiguousarray(array).data)
    name = f"{encoder_sha256[:16]}-{target.name}-{view}-{seen.hexdigest()[:12]}.npy"
    return runs / "features" / name


def _pooled(levels: list[torch.Tensor], lungs: torch.Tensor) -> Features:
    found = []
    for level in levels:
        share = torch.nn.functional.interpolate(lungs, list(level.shape[-2:]), mode="area")
        weight = share / share.sum((2, 3), keepdim=True)
        mean = (level * weight).sum((2, 3))
        spread = ((level - mean[:, :, None, None]).square() * weight).sum((2, 3)).sqrt()
        found += [mean, spread]
    pooled: Features = torch.cat(found, dim=1).float().cpu().numpy()
    return pooled
