"""How far a scan is from all that a model has learnt from, by the features that it decides with.

Features of training's frames are taken for a Gaussian that is told exactly along the directions in
which they differ most, and alike in all others (probabilistic PCA: Tipping and Bishop, J. R. Stat.
Soc. B 61, 1999); a frame's distance is Mahalanobis' in it (Lee et al., NeurIPS 2018, with one
Gaussian for both classes), and a scan's is the median of its frames'. So it does not shrink with
the number of frames, as that of their mean features would. The limit comes from the scans of
validation, which the Gaussian has not seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from sklearn.decomposition import PCA

from covidssl.errors import WeightsError
from covidssl.randomness import numpy_generator
from covidssl.weights import read_weights, save_weights

Floats = NDArray[np.float32]

FALSE_ALARMS = 0.01
"""Share of scans of the training set's own kind that may lie above the limit."""

LEAST_SCANS = 10
"""With fewer validation scans there is no limit: it would be one scan's."""

MOST_FRAMES = 4000
"""The Gaussian is fitted on so many frames of training at most."""

_MOST_DIRECTIONS = 32
_STREAM = 193
_FLAT = 1e-6


class DistanceLimit(BaseModel):
    """From where on a scan is unlike what was learnt from; written in the model's card.

    Attributes:
        limit: of a scan's distance, which is near 1 for one of the training set's own kind.
        false_alarms: share of scans of that kind that are expected above it: 1 %, or 1 of n + 1
            where validation has only n scans.
        scans: of validation, that it was taken from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: float = Field(gt=0, allow_inf_nan=False)
    false_alarms: float = Field(gt=0, lt=1)
    scans: int = Field(ge=1)


@dataclass(frozen=True)
class TrainingFeatures:
    """The Gaussian of the features of training's frames.

    Attributes:
        centre, scale: (F,) by which features are centred and scaled first.
        directions: (K, F) in which frames of training differ most, orthonormal.
        spread: (K,) standard deviation along each.
        rest: (1,) standard deviation along each of the other F - K.
    """

    centre: Floats
    scale: Floats
    directions: Floats
    spread: Floats
    rest: Floats

    def distance(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Distance (N,) of frames' features (N, F), by the root of F: near 1 for training's."""
        moved = (np.asarray(features, np.float64) - self.centre) / self.scale
        along = moved @ self.directions.T.astype(np.float64)
        left = np.maximum((moved**2).sum(1) - (along**2).sum(1), 0.0)
        squares = ((along / self.spread) ** 2).sum(1) + left / float(self.rest[0]) ** 2
        return np.asarray(np.sqrt(squares / moved.shape[1]))

    def of_scan(self, features: NDArray[np.floating]) -> float:
        """Distance of a scan, whose frames have the features (N, F): half of them lie further."""
        return float(np.median(self.distance(features)))

    def of_scans(
        self, features: NDArray[np.floating], scan_of: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Distances (S,) of scans; `scan_of` (N,) tells whose the features (N, F) are."""
        return np.array([self.of_scan(features[scan_of == scan]) for scan in np.unique(scan_of)])


def fit_training_features(features: Floats) -> TrainingFeatures:
    """The Gaussian of frames' features (N, F).

    No more directions are told exactly than a third of the frames.
    """
    centre, scale = features.mean(0), features.std(0)
    scale = np.where(scale > _FLAT, scale, np.float32(1.0)).astype(np.float32)
    moved = ((features - centre) / scale).astype(np.float64)
    wanted = max(1, min(_MOST_DIRECTIONS, len(moved) // 3, moved.shape[1] - 1))
    found = PCA(wanted, svd_solver="full").fit(moved)
    variance = np.maximum(found.explained_variance_, _FLAT)
    total = float(moved.var(0, ddof=1).sum()) if len(moved) > 1 else 0.0
    rest = max((total - float(variance.sum())) / (moved.shape[1] - wanted), _FLAT)
    return TrainingFeatures(
        centre.astype(np.float32),
        scale,
        found.components_.astype(np.float32),
        np.sqrt(variance).astype(np.float32),
        np.array([math.sqrt(rest)], np.float32),
    )


def distance_limit(distances: NDArray[np.floating]) -> DistanceLimit | None:
    """The limit above which one of a hundred scans like those of validation lies.

    Of n exchangeable scans, a further one exceeds the k-th smallest with probability
    (n + 1 - k) / (n + 1) (split conformal prediction; Papadopoulos et al., ECML 2002).

    Args:
        distances: (S,) of the validation scans.

    Returns:
        None for fewer than `LEAST_SCANS` scans.
    """
    n = len(distances)
    if n < LEAST_SCANS:
        return None
    k = min(n, math.ceil((n + 1) * (1 - FALSE_ALARMS)))
    limit = float(np.sort(distances)[k - 1])
    return DistanceLimit(limit=max(limit, _FLAT), false_alarms=(n + 1 - k) / (n + 1), scans=n)


def some_frames(which: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """`MOST_FRAMES` at most of the frames at the places (N,), drawn, in their order.

    Every n-th instead could be the same slice of every scan.
    """
    if len(which) <= MOST_FRAMES:
        return which
    drawn = numpy_generator(seed, _STREAM).choice(which, MOST_FRAMES, replace=False)
    return np.sort(drawn)


def save_training_features(path: Path, features: TrainingFeatures) -> str:
    """Write them, whole or not at all; gives the file's SHA-256."""
    return save_weights(
        path,
        {one.name: torch.from_numpy(getattr(features, one.name)) for one in fields(features)},
    )


def read_training_features(path: Path, sha256: str, features: int) -> TrainingFeatures:
    """Read what `save_training_features` wrote, of a network with so many pooled features.

    Raises:
        WeightsError: when the file is missing, another one than the card's, or holds what does not
            fit the network.
    """
    tensors = read_weights(path, sha256)
    k = len(tensors["spread"]) if "spread" in tensors else 0
    shapes = {"centre": (features,), "scale": (features,), "directions": (k, features),
              "spread": (k,), "rest": (1,)}  # fmt: skip
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != shapes:
        raise WeightsError(
            f"{path}: does not hold the features of training's frames that fit the network beside "
            f"it (found {found}, expected {shapes}). Fine-tune the model again."
        )
    return TrainingFeatures(**{name: tensors[name].float().numpy() for name in shapes})
