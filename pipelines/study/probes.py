"""What is fitted on the features of a frozen encoder: linear probes, and kernel probes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.svm import SVC

from covidssl.selection import LEAST_GROUPS
from pipelines.study.folds import Labels, Rows, groups_of_rarer
from pipelines.study.targets import TargetSet

Features = NDArray[np.float32]
Chances = NDArray[np.float64]

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
_MOST_FOLDS = 4
_MOST_STEPS = 1000
_UNBOUND = 1e6  # of two numbers nothing is to be held back


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

    Penalty and width are scikit-learn's own (C 1, gamma "scale"). Features are centred and scaled
    by the labelled rows; both classes count the same. A logistic function of its margin is its
    chance: fitted on margins of labelled rows, whole groups held out (Platt, 1999), so that folds
    and protocols that are put together are of one scale; the plain one where held-out margins tell
    nothing. With too few groups to choose on, its
    inner score is not a number: it is never taken then.
    """

    def fit(target: TargetSet, labels: Labels) -> Fitted:
        group = np.array(target.group)
        chance = _kernel(features, target.target, group, labels.all, labels.score)
        inner = float("nan")
        if groups_of_rarer(target.target, group, labels.choose) >= LEAST_GROUPS:
            said = _kernel(features, target.target, group, labels.learn, labels.choose)
            inner = float(roc_auc_score(target.target[labels.choose], said))
        return Fitted(chance, inner, "Gaussian kernel")

    return fit


def _held_out(
    target: Rows, group: NDArray[np.str_], rows: Rows
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Places among `rows` that teach, and whole groups of them that are held out.

    None where a class has a single group.
    """
    count = groups_of_rarer(target, group, rows)
    if count < 2:
        return
    folds = StratifiedGroupKFold(min(count, _MOST_FOLDS))
    for taught, held in folds.split(rows, target[rows], group[rows]):
        if len(set(target[rows][taught])) == 2:
            yield taught, held


def _strength(features: Features, target: Rows, group: NDArray[np.str_], rows: Rows) -> float:
    """The strength of least cross-validated loss within `rows`; the middle where none can be told.

    With a single group of a class nothing can be held out.
    """
    scaled = _in_span(_scaled(features, rows)[rows])
    losses = np.zeros(len(STRENGTHS))
    for taught, held in _held_out(target, group, rows):
        model = LogisticRegression(class_weight="balanced", max_iter=_MOST_STEPS, warm_start=True)
        for at, strength in enumerate(STRENGTHS):
            model.set_params(C=strength).fit(scaled[taught], target[rows][taught])
            said = model.predict_proba(scaled[held])[:, 1]
            losses[at] += log_loss(target[rows][held], said, labels=[0, 1]) * len(held)
    if not losses.any():
        return STRENGTHS[len(STRENGTHS) // 2]
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


def _kernel(
    features: Features, target: Rows, group: NDArray[np.str_], taught: Rows, asked: Rows
) -> Chances:
    scaled, own = _scaled(features, taught), target[taught]
    margin = np.full(len(taught), np.nan)
    for learnt, held in _held_out(target, group, taught):
        margin[held] = _margin(scaled[taught[learnt]], own[learnt], scaled[taught[held]])
    said, known = _margin(scaled[taught], own, scaled[asked]), np.isfinite(margin)
    if not known.any():
        return expit(said)
    platt = LogisticRegression(C=_UNBOUND, class_weight="balanced")
    platt.fit(margin[known, None], own[known])
    if platt.coef_[0, 0] <= 0:  # held-out margins of few groups may tell nothing: turn none round
        return expit(said)
    chance: Chances = platt.predict_proba(said[:, None])[:, 1]
    return chance


def _margin(taught: Features, target: Rows, asked: Features) -> Chances:
    margin: Chances = SVC(class_weight="balanced").fit(taught, target).decision_function(asked)
    return margin


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
