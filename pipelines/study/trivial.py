"""Models that cannot see disease: they see thumbnails, histograms and sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import nan

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from covidssl.audit.folds import Folds
from covidssl.audit.trials import Trials
from covidssl.rivals import fit_rival
from pipelines.study.folds import Labels, Rows
from pipelines.study.probes import Chances, Fit, Fitted, kernel_probe, probe
from pipelines.study.targets import TargetSet


def linear_on_thumbnail(target: TargetSet, labels: Labels) -> Fitted:
    """A linear probe of what the boosted trees see: as much as a probe makes of no encoder."""
    return probe(target.thumbnails)(target, labels)


def kernel_on_thumbnail(target: TargetSet, labels: Labels) -> Fitted:
    """A kernel probe of the same: encoders have no way to use labels that the trivial has not."""
    return kernel_probe(target.thumbnails)(target, labels)


def trees_on_thumbnail(target: TargetSet, labels: Labels) -> Fitted:
    """Boosted trees on a 12 x 12 thumbnail and a histogram of 32 bins."""

    def scored(taught: Rows, asked: Rows) -> Chances:
        rival = fit_rival(target.thumbnails[taught], target.target[taught], seed=0)
        return rival.probability(target.thumbnails[asked])

    return _trivial(scored, target, labels)


def nearest_thumbnail(target: TargetSet, labels: Labels) -> Fitted:
    """The label of the labelled image whose thumbnail and histogram are nearest."""

    def scored(taught: Rows, asked: Rows) -> Chances:
        nearest = KNeighborsClassifier(1).fit(target.thumbnails[taught], target.target[taught])
        chance: Chances = nearest.predict_proba(target.thumbnails[asked])[:, 1]
        return chance

    return _trivial(scored, target, labels)


def trees_on_size(target: TargetSet, labels: Labels) -> Fitted:
    """Boosted trees on width, height and aspect of the picture."""

    def scored(taught: Rows, asked: Rows) -> Chances:
        trees = HistGradientBoostingClassifier(
            min_samples_leaf=min(20, max(2, len(taught) // 20)), random_state=0
        )
        trees.fit(target.sizes[taught], target.target[taught])
        chance: Chances = trees.predict_proba(target.sizes[asked])[:, 1]
        return chance

    return _trivial(scored, target, labels)


def audited(features: NDArray[np.floating], nearest: bool) -> Fit:
    """One of the audit's models on its features (N, D) of the whole set; chooses nothing."""

    def fit(target: TargetSet, labels: Labels) -> Fitted:
        fold = np.full(len(target.target), -1, np.int64)
        pairs = ((labels.all, labels.score),)
        said = Trials(target.target, seed=0).one(
            features, nearest, Folds("given", "one fold", pairs, fold)
        )
        return Fitted(said[labels.score], nan, "")

    return fit


THUMBNAIL, LINEAR = "trees on thumbnail", "linear on thumbnail"
RIVALS: Mapping[str, Fit] = {
    THUMBNAIL: trees_on_thumbnail,
    LINEAR: linear_on_thumbnail,
    "kernel on thumbnail": kernel_on_thumbnail,
    "nearest thumbnail": nearest_thumbnail,
    "trees on size": trees_on_size,
}
"""Models that cannot see disease, by their names in tables."""


def _trivial(scored: Callable[[Rows, Rows], Chances], target: TargetSet, labels: Labels) -> Fitted:
    inner = scored(labels.learn, labels.choose)
    area = roc_auc_score(target.target[labels.choose], inner)
    return Fitted(scored(labels.all, labels.score), float(area), "")
