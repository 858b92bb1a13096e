"""What is fitted on few numbers an image: linear probes of frozen features, and trivial rivals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from covidssl.rivals import fit_rival
from covidssl.selection import LEAST_GROUPS
from pipelines.study.folds import Labels, Rows
from pipelines.study.targets import TargetSet

Features = NDArray[np.float32]
Chances = NDArray[np.float64]

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
_MOST_FOLDS = 4
_MOST_STEPS = 1000


class Fitted(NamedTuple):
    """What one fit says.

    Attributes:
        chance: (len(labels.score),) probability of COVID of the rows that are scored; 0.5 is the
            operating point.
        inner: AUROC on `labels.choose` of a fit on `labels.learn` alone: what protocols are chosen
            by.
        chosen: what was chosen within the labels, in words.
    """

    chance: Chances
    inner: float
    chosen: str


Fit = Callable[[TargetSet, Labels], Fitted]
"""Fits one fold's labels, and scores its rows."""


def probe(features: Features) -> Fit:
    """A logistic regression with an L2 penalty on features (N, F) of the whole set.

    Its strength is the one of least loss in a cross-validation within the labels, whole groups
    held out; it is then fitted on all of them. Features are centred and scaled by the labelled
    rows; both classes count the same.
    """

    def fit(target: TargetSet, labels: Labels) -> Fitted:
        group = np.array(target.group)
        strength = _strength(features, target.target, group, labels.all)
        chance = _logistic(features, target.target, labels.all, labels.score, strength)
        inner_strength = _strength(features, target.target, group, labels.learn)
        inner = _logistic(features, target.target, labels.learn, labels.choose, inner_strength)
        area = roc_auc_score(target.target[labels.choose], inner)
        return Fitted(chance, float(area), f"C {strength:g}")

    return fit


def kernel_probe(features: Features) -> Fit:
    """A support-vector machine with a Gaussian kernel on features (N, F) of the whole set.

    Nothing of it is chosen: penalty and width are scikit-learn's own (C 1, gamma "scale"). Features
    are centred and scaled by the labelled rows; both classes count the same. What it says is its
    margin through a logistic function: a rank and a cut at one half, not a calibrated chance. With
    too few groups to choose on, its inner score is not a number: it is never taken then.
    """

    def fit(target: TargetSet, labels: Labels) -> Fitted:
        chance = _margin(features, target.target, labels.all, labels.score)
        inner = float("nan")
        if groups_of_rarer(target, labels.choose) >= LEAST_GROUPS:
            said = _margin(features, target.target, labels.learn, labels.choose)
            inner = float(roc_auc_score(target.target[labels.choose], said))
        return Fitted(chance, inner, "Gaussian kernel")

    return fit


def groups_of_rarer(target: TargetSet, rows: Rows) -> int:
    """Groups of the class that has fewer, among rows."""
    group = np.array(target.group)[rows]
    return min(len(np.unique(group[target.target[rows] == k])) for k in (0, 1))


def linear_on_thumbnail(target: TargetSet, labels: Labels) -> Fitted:
    """A linear probe of what the boosted trees see: as much as a probe makes of no encoder."""
    return probe(target.thumbnails)(target, labels)


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


RIVALS: Mapping[str, Fit] = {
    "trees on thumbnail": trees_on_thumbnail,
    "linear on thumbnail": linear_on_thumbnail,
    "nearest thumbnail": nearest_thumbnail,
    "trees on size": trees_on_size,
}
"""Models that cannot see disease, by their names in tables."""


def _trivial(scored: Callable[[Rows, Rows], Chances], target: TargetSet, labels: Labels) -> Fitted:
    inner = scored(labels.learn, labels.choose)
    area = roc_auc_score(target.target[labels.choose], inner)
    return Fitted(scored(labels.all, labels.score), float(area), "")


def _strength(features: Features, target: Rows, group: NDArray[np.str_], rows: Rows) -> float:
    """The strength of least cross-validated loss within `rows`; the middle where none can be told.

    With a single group of a class nothing can be held out.
    """
    count = min(len(np.unique(group[rows[target[rows] == k]])) for k in (0, 1))
    if count < 2:
        return STRENGTHS[len(STRENGTHS) // 2]
    scaled = _in_span(_scaled(features, rows)[rows])
    folds = StratifiedGroupKFold(min(count, _MOST_FOLDS))
    losses = np.zeros(len(STRENGTHS))
    for taught, held in folds.split(scaled, target[rows], group[rows]):
        if len(set(target[rows][taught])) < 2:
            continue
        model = LogisticRegression(class_weight="balanced", max_iter=_MOST_STEPS, warm_start=True)
        for at, strength in enumerate(STRENGTHS):
            model.set_params(C=strength).fit(scaled[taught], target[rows][taught])
            said = model.predict_proba(scaled[held])[:, 1]
            losses[at] += log_loss(target[rows][held], said, labels=[0, 1]) * len(held)
    return STRENGTHS[int(losses.argmin())]


def _logistic(
    features: Features, target: Rows, taught: Rows, asked: Rows, strength: float
) -> Chances:
    scaled = _scaled(features, taught)
    both = _in_span(scaled[taught], scaled[asked])
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=_MOST_STEPS)
    model.fit(both[: len(taught)], target[taught])
    chance: Chances = model.predict_proba(both[len(taught) :])[:, 1]
    return chance


def _margin(features: Features, target: Rows, taught: Rows, asked: Rows) -> Chances:
    scaled = _scaled(features, taught)
    model = SVC(class_weight="balanced").fit(scaled[taught], target[taught])
    chance: Chances = expit(model.decision_function(scaled[asked]))
    return chance


def _scaled(features: Features, rows: Rows) -> Features:
    mean, scale = features[rows].mean(0), features[rows].std(0)
    found: Features = ((features - mean) / np.where(scale > 1e-6, scale, 1.0)).astype(np.float32)
    return found


def _in_span(taught: Features, *asked: Features) -> Features:
    """Features as coordinates in the span of those that are taught, where that has fewer axes.

    Of an L2 penalty the best weights lie in that span: the fit is the same and much faster.
    """
    every = np.concatenate((taught, *asked))
    if len(taught) >= taught.shape[1]:
        return every
    span: Features = every @ np.linalg.qr(taught.T)[0].astype(np.float32)
    return span
