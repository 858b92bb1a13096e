"""One model of every fold of a set: what each image is called by what has not seen it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from covidssl.each_scan import Progress, no_progress
from pipelines.study.folds import FOLDS, SplitName, cut, labels_of
from pipelines.study.probes import Fit
from pipelines.study.records import Cell, Found, Images
from pipelines.study.targets import TargetSet

FRACTIONS = (0.1, 1.0)
DRAWS = 5
"""Draws of a share of the labels; all labels can be drawn once."""


def cells_of(
    protocol: str, fractions: Sequence[float] = FRACTIONS, draws: int = DRAWS, seed: int = 0
) -> list[Cell]:
    """The cells of one model: every share of the labels in so many draws, all labels in one."""
    return [
        Cell(protocol, fraction, draw, seed)
        for fraction in fractions
        for draw in range(1 if fraction == 1.0 else draws)
    ]


def found_by(
    fit: Fit,
    target: TargetSet,
    split: SplitName,
    cells: Sequence[Cell],
    progress: Progress = no_progress,
) -> dict[Cell, Found]:
    """Fit every fold of every cell, and gather what is said out of fold.

    Args:
        fit: of `pipelines.study.probes`; its features must be those of this set and view.
        target: the set, seen as the view says.
        split: how it is cut.
        cells: shares and draws of the labels.
        progress: shows how far it is.
    """
    folds = cut(target, split)
    found = {}
    for cell in progress(list(cells), f"{target.name}, {split}: {cells[0].protocol}", len(cells)):
        chance, inner, labels, chosen = np.full(len(target.target), np.nan), [], [], []
        for fold in folds:
            given = labels_of(target, fold, cell.fraction, cell.draw)
            fitted = fit(target, given)
            chance[given.score] = fitted.chance
            inner.append(fitted.inner)
            labels.append(len(given.all))
            chosen.append(fitted.chosen)
        found[cell] = Found(
            chance, float(np.mean(labels)), float(np.mean(inner)), tuple(chosen), tuple(inner)
        )
    return found


def images_of(target: TargetSet, split: SplitName) -> Images:
    """Label, group and fold of each image, as records keep them; groups are numbers."""
    fold = np.full(len(target.target), -1, np.int64)
    for number, one in enumerate(cut(target, split)):
        fold[one.score] = number
    if len(np.unique(fold)) != FOLDS or (fold < 0).any():
        raise ValueError("Every image must be scored in one of the folds.")
    _, group = np.unique(np.array(target.group), return_inverse=True)
    return Images(target.target, group.astype(np.int64), fold)
