"""Scans with their labels, what the model says of them, and what the trivial rival says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.labelled_frames import LabelledFrames
from covidssl.metrics import Scores
from covidssl.metrics import evaluate as scores_of
from covidssl.model import Model
from covidssl.randomness import numpy_generator
from covidssl.rivals import fit_rival
from covidssl.selection import score_scans
from covidssl.splits import LEARNT_FROM, Assigned

_BOOTSTRAP_STREAM = 41
COLUMNS = (
    "scan", "patient", "group", "label", "target", "logit", "probability", "predicted",
    "rival_probability",
)  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """Scans that were scored.

    Attributes:
        scans: with patient and group.
        target: (S,) 1 for the positive class.
        logit: (S,) of the model.
        probability: (S,) calibrated.
        rival: (S,) probability of the trivial rival; None where it was not trained.
        threshold: the model's operating point.
        classes: names of the negative and the positive class.
    """

    scans: tuple[Assigned, ...]
    target: NDArray[np.int64]
    logit: NDArray[np.float64]
    probability: NDArray[np.float64]
    rival: NDArray[np.float64] | None
    threshold: float
    classes: tuple[str, str]

    def scores(self, seed: int, rounds: int) -> tuple[Scores, Scores | None]:
        """Scores of the model and of the rival, groups resampled; the rival's threshold is 0.5."""
        group = [one.group for one in self.scans]
        model, rival = (
            None
            if probability is None
            else scores_of(
                self.target,
                probability,
                threshold,
                group,
                numpy_generator(seed, _BOOTSTRAP_STREAM),
                rounds,
            )
            for probability, threshold in ((self.probability, self.threshold), (self.rival, 0.5))
        )
        if model is None:
            raise ValueError("A model always has probabilities.")
        return model, rival

    def rows(self) -> list[dict[str, Any]]:
        """A row a scan, as in `predictions.csv`."""
        return [
            {
                "scan": one.scan.name,
                "patient": one.scan.patient or "",
                "group": one.group,
                "label": self.classes[self.target[k]],
                "target": int(self.target[k]),
                "logit": round(float(self.logit[k]), 6),
                "probability": f"{self.probability[k]:.6f}",
                "predicted": self.classes[int(self.probability[k] >= self.threshold)],
                "rival_probability": "" if self.rival is None else f"{self.rival[k]:.6f}",
            }
            for k, one in enumerate(self.scans)
        ]


def judge(
    model: Model,
    frames: LabelledFrames,
    assigned: Sequence[Assigned],
    split: str,
    rival_seed: int | None,
) -> Evaluation:
    """Score one split.

    Args:
        model: the classifier, on its device.
        frames: of the dataset, those learnt from among them if there shall be a rival.
        assigned: every scan's split.
        split: the one that is scored.
        rival_seed: the trivial rival learns from what the model learnt from, with this seed;
            None for no rival.

    Raises:
        DataError: when no scan of the split could be read.
    """
    wanted = {one.scan.name: one for one in assigned if one.split == split}
    card = model.card
    device: torch.device = model.device
    which = frames.of(wanted)
    if not len(which):
        reasons = [reason for name, reason in frames.dropped if name in wanted]
        raise DataError(
            f"Not one of the {len(wanted)} scans of split '{split}' could be read, so there is "
            f"nothing to score. First: {reasons[0] if reasons else 'they were not among the data'}"
        )
    scored = score_scans(model.classifier, frames, which, card.aggregation, device)
    learnt = {one.scan.name for one in assigned if one.split in LEARNT_FROM}
    rival = None
    if rival_seed is not None and learnt:
        train = [k for k, scan in enumerate(frames.scans) if scan.name in learnt]
        target = np.array([int(frames.scans[k].positive) for k in train])
        fitted = fit_rival(frames.thumbnails[train], target, rival_seed)
        rival = fitted.probability(frames.thumbnails[scored.places])
    return Evaluation(
        scans=tuple(wanted[frames.scans[place].name] for place in scored.places),
        target=scored.target,
        logit=scored.logit,
        probability=card.calibration.probability(scored.logit),
        rival=rival,
        threshold=card.operating_point,
        classes=card.classes,
    )
