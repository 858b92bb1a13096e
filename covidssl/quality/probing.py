"""How well frozen features tell the classes: a linear probe and k nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from covidssl.diagnosis import ProbeData, fit_probe
from covidssl.quality.features import Features
from covidssl.quality.folds import Fold, Rows

Chances = NDArray[np.float64]


class OutOfFold(NamedTuple):
    """Of each scan, (N,), the probability of the positive class by what has not seen it."""

    probe: Chances
    neighbours: Chances


def out_of_fold(
    features: Features, target: Rows, folds: Sequence[Fold], neighbours: int
) -> OutOfFold:
    """Score every scan by a linear probe and by its nearest neighbours among the other folds.

    Features are centred and scaled by the scans that are learnt from. The probe's strength is the
    one of least loss on the fold that chooses; distance to a neighbour is the cosine's.

    Args:
        features: (N, F) of frozen features.
        target: (N,) 1 for a positive scan.
        folds: that score every scan once.
        neighbours: how many are asked.
    """
    found = OutOfFold(np.full(len(target), np.nan), np.full(len(target), np.nan))
    for fold in folds:
        taught = features[fold.learn].astype(np.float64)
        mean, scale = taught.mean(0), taught.std(0)
        scaled = ((features - mean) / np.where(scale > 1e-6, scale, 1.0)).astype(np.float32)
        found.probe[fold.score] = _probe(scaled, target, fold)
        nearest = KNeighborsClassifier(
            min(neighbours, len(fold.learn)), metric="cosine", algorithm="brute"
        )
        nearest.fit(scaled[fold.learn], target[fold.learn])
        found.neighbours[fold.score] = nearest.predict_proba(scaled[fold.score])[:, 1]
    return found


def probe_quality(
    features: Features, target: Rows, folds: Sequence[Fold], neighbours: int
) -> dict[str, float]:
    """AUROC of the probe (over all folds, and the mean of each fold's) and of the k-NN."""
    found = out_of_fold(features, target, folds, neighbours)
    of_folds = [roc_auc_score(target[one.score], found.probe[one.score]) for one in folds]
    return {
        "probe_auroc": float(roc_auc_score(target, found.probe)),
        "probe_auroc_mean_of_folds": float(np.mean(of_folds)),
        "knn_auroc": float(roc_auc_score(target, found.neighbours)),
    }


def _probe(scaled: Features, target: Rows, fold: Fold) -> Chances:
    learnt, chosen_on = (
        ProbeData(scaled[rows], target[rows]) for rows in (fold.learn, fold.choose)
    )
    probe = fit_probe(learnt, chosen_on)
    chances: Chances = expit(scaled[fold.score].astype(np.float64) @ probe.weight + probe.bias)
    return chances
