"""Labels, probabilities and groups, checked before anything is counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def checked(target: NDArray[np.integer], probability: NDArray[np.floating]) -> tuple[Bools, Floats]:
    """Labels (N,) as bool and scores (N,) as float64, or an error that says what is wrong."""
    scores = np.asarray(probability, dtype=np.float64)
    if scores.ndim != 1 or scores.shape != np.shape(target):
        raise DataError(
            f"Labels of shape {np.shape(target)} and probabilities of shape {scores.shape} do not "
            f"fit: one label and one probability an entry are needed."
        )
    outside = int(np.count_nonzero(~((scores >= 0) & (scores <= 1))))
    if outside:
        raise DataError(
            f"{outside} of {len(scores)} probabilities are not in [0, 1] (NaN counts as such). "
            f"Leave out entries without a prediction, and give probabilities, not logits."
        )
    if not np.isin(target, (0, 1)).all():
        raise DataError("A label other than 0 and 1 was found: 1 is positive, 0 negative.")
    labels = np.asarray(target) == 1
    positives = int(labels.sum())
    if positives in (0, len(labels)):
        raise DataError(
            f"All {len(labels)} entries carry the same label; both classes are needed to score a "
            f"classifier. Look at the split."
        )
    return labels, scores


def checked_pair(
    target: NDArray[np.integer],
    probabilities: tuple[NDArray[np.floating], NDArray[np.floating]],
) -> tuple[Bools, Floats, Floats]:
    """Labels (N,) and the scores (N,) of two classifiers of the same entries in the same order."""
    labels, first = checked(target, probabilities[0])
    return labels, first, checked(target, probabilities[1])[1]


def group_index(group: Sequence[str] | None, n: int) -> tuple[NDArray[np.intp], int]:
    """The group of each entry as a number 0..G-1, and G.

    Raises:
        DataError: when not every entry has a group, or all have the same.
    """
    if group is None:
        return np.arange(n), n
    if len(group) != n:
        raise DataError(f"{len(group)} groups for {n} entries: one group an entry is needed.")
    names, index = np.unique(np.asarray(group, dtype=str), return_inverse=True)
    if len(names) < 2:
        raise DataError(
            f"All {n} entries belong to one group ('{names[0]}'), so no interval can be drawn from "
            f"groups. Give the patient of each entry, or none at all."
        )
    return index, len(names)


def checked_prevalence(prevalence: float) -> float:
    """The share of positives, or an error when it is none.

    Raises:
        DataError: when it is not above 0 and below 1.
    """
    if not 0 < prevalence < 1:
        raise DataError(f"A prevalence of {prevalence}: expected a share above 0 and below 1.")
    return prevalence


def checked_threshold(threshold: float) -> float:
    """The threshold, or an error where it is NaN, which would call every entry negative.

    Raises:
        DataError: when it is no number.
    """
    if np.isnan(threshold):
        raise DataError("The threshold is NaN: expected a probability, such as the card's.")
    return threshold
