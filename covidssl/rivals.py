"""The trivial rival: it sees hardly more than brightness, and every network has to beat it.

In data sets put together from several sources the window, the scanner and the level of the slice
differ with the class, and boosted trees on a thumbnail and a histogram find that. A network that
does no better has shown nothing about disease.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.ensemble import HistGradientBoostingClassifier

from covidssl.errors import DataError

THUMBNAIL = 12
BINS = 32
FEATURES = THUMBNAIL * THUMBNAIL + BINS


def thumbnail_features(picture: NDArray[np.floating]) -> NDArray[np.float32]:
    """What the rival sees of one slice.

    Args:
        picture: (Y, X), in [0, 1].

    Returns:
        (176,) float32: the 12 x 12 thumbnail (mean of each area, row by row), then the share of
        pixels in each of 32 bins of brightness.

    Raises:
        DataError: when the picture has not two axes, is empty, or holds a value outside [0, 1].
    """
    if picture.ndim != 2 or not picture.size:
        raise DataError(f"The rival reads one slice (Y, X), got shape {picture.shape}.")
    if not ((picture >= 0) & (picture <= 1)).all():
        raise DataError("The rival reads pixels in [0, 1]; a value outside (or NaN) was found.")
    image = Image.fromarray(np.ascontiguousarray(picture, dtype=np.float32))
    thumbnail = np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    counts, _ = np.histogram(picture, bins=BINS, range=(0.0, 1.0))
    return np.concatenate((thumbnail.ravel(), counts / picture.size)).astype(np.float32)


@dataclass(frozen=True)
class Rival:
    """Boosted trees on `thumbnail_features`."""

    trees: HistGradientBoostingClassifier

    def probability(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probability (N,) of the positive class for features (N, 176), a row a slice."""
        return np.asarray(self.trees.predict_proba(_checked(features))[:, 1])

    def scan_probability(self, features: NDArray[np.floating]) -> float:
        """Probability of one scan from its slices' features (Z, 176): the mean over the slices."""
        return float(self.probability(features).mean())


def fit_rival(features: NDArray[np.floating], target: NDArray[np.integer], seed: int) -> Rival:
    """Train the rival on the slices that the network was trained on.

    Args:
        features: (N, 176), a row a slice.
        target: (N,) labels, 1 = positive, 0 = negative.
        seed: of the trees.

    Raises:
        DataError: when lengths differ or a class is absent.
    """
    if np.shape(target) != (len(features),):
        raise DataError(f"{len(features)} rows of features and labels of shape {np.shape(target)}.")
    if set(np.unique(target).tolist()) != {0, 1}:
        raise DataError("The rival needs training slices of both classes, labelled 0 and 1.")
    # With the usual 20 a leaf, trees on fewer than 40 slices could not split at all.
    leaf = min(20, max(2, len(features) // 20))
    trees = HistGradientBoostingClassifier(min_samples_leaf=leaf, random_state=seed)
    return Rival(trees.fit(_checked(features), np.asarray(target)))


def _checked(features: NDArray[np.floating]) -> NDArray[np.floating]:
    if features.ndim != 2 or features.shape[1] != FEATURES or not len(features):
        raise DataError(f"The rival reads features (N, {FEATURES}), got shape {features.shape}.")
    return features
