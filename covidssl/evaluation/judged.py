"""Scans with their labels, what the model says of them, and what trivial models say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.each_scan import Progress, no_progress
from covidssl.errors import DataError
from covidssl.evaluation.trivial import Scored, trivial_models
from covidssl.evaluation.views import logits_of_views
from covidssl.labelled_frames import LabelledFrames
from covidssl.model import Model
from covidssl.rivals import Rival, fit_rival
from covidssl.selection import score_scans
from covidssl.splits import Assigned

COLUMNS = (
    "scan", "patient", "group", "label", "target", "logit", "probability", "predicted",
    "rival_probability",
)  # fmt: skip

TAUGHT = "train"
"""The split that weights learn from, of the model and of trivial models alike."""

Floats = NDArray[np.float64]


class Held(NamedTuple):
    """A labelled set, or a split of one, to hold a model against.

    Attributes:
        name: of an external set; empty for the set that the model was trained on.
        frames: of the set; those learnt from among them where trivial models shall be trained.
        assigned: every scan's split.
        split: the one that is scored.
        classes: as the set names them, negative and positive; None: as the model does.
    """

    name: str
    frames: LabelledFrames
    assigned: Sequence[Assigned]
    split: str
    classes: tuple[str, str] | None = None


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
        name: of an external set; empty for the set that the model was trained on.
        trivial: (S,) probabilities of further trivial models of the audit, by their keys.
        views: (S,) calibrated probabilities of the model on altered images, by the views' keys;
            NaN for scans without usable lungs.
    """

    scans: tuple[Assigned, ...]
    target: NDArray[np.int64]
    logit: Floats
    probability: Floats
    rival: Floats | None
    threshold: float
    classes: tuple[str, str]
    name: str = ""
    trivial: Mapping[str, Floats] = field(default_factory=dict)
    views: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def group(self) -> list[str]:
        """What is resampled whole, of each scan."""
        return [one.group for one in self.scans]

    @property
    def split(self) -> str:
        """The split that was scored."""
        (split,) = {one.split for one in self.scans}
        return split

    def part(self, which: NDArray[np.bool_]) -> Evaluation:
        """The scans that are marked (S,), with nothing beside the model."""
        return Evaluation(
            tuple(one for one, marked in zip(self.scans, which, strict=True) if marked),
            self.target[which],
            self.logit[which],
            self.probability[which],
            None,
            self.threshold,
            self.classes,
            self.name,
        )

    def rows(self) -> list[dict[str, Any]]:
        """A row a scan, as in `predictions.csv`."""
        return [
            {
                "scan": one.scan.name,
                "patient": one.scan.patient or "",
                "group": one.group,
                "label": self.classes[self.target[k]],
                "target": int(self.target[k]),
                # In full: rounded ones would tie, and be other numbers than those scored.
                "logit": repr(float(self.logit[k])),
                "probability": repr(float(self.probability[k])),
                "predicted": self.classes[int(self.probability[k] >= self.threshold)],
                "rival_probability": "" if self.rival is None else repr(float(self.rival[k])),
            }
            for k, one in enumerate(self.scans)
        ]


def judge(
    model: Model,
    held: Sequence[Held],
    rival_seed: int | None,
    views: bool = False,
    progress: Progress = no_progress,
) -> list[Evaluation]:
    """Score the sets that a model is held against.

    Args:
        model: the classifier, on its device.
        held: the set that it was trained on first, then external ones.
        rival_seed: trivial models learn, with this seed, from the training scans of the first
            set; None for none.
        views: whether the model is scored on altered images too, and all trivial models of the
            audit beside the one rival; the frames must have been loaded with `LOOK`.
        progress: shows how far it is.

    Raises:
        DataError: when no scan of a set could be read.
    """
    scored = [_score(model, one) for one in held]
    learnt = _learnt(held[0]) if rival_seed is not None else None
    rival, trivial = None, []
    if learnt is not None and rival_seed is not None:
        target = np.array([int(learnt.frames.scans[k].positive) for k in learnt.places])
        rival = fit_rival(learnt.frames.thumbnails[learnt.places], target, rival_seed)
        if views:
            trivial = trivial_models(learnt, [one.of for one in scored], rival_seed, progress)
    found = []
    for k, (set_, one) in enumerate(zip(held, scored, strict=True)):
        found.append(
            Evaluation(
                scans=one.scans,
                target=one.target,
                logit=one.logit,
                probability=model.card.calibration.probability(one.logit),
                rival=_of_rival(rival, one.of),
                threshold=model.card.operating_point,
                classes=set_.classes or model.card.classes,
                name=set_.name,
                trivial={said.model.key: said.probability[k] for said in trivial},
                views=_views(model, one.of, progress) if views else {},
            )
        )
    return found


class _Set(NamedTuple):
    """A set with the model's logits."""

    of: Scored
    scans: tuple[Assigned, ...]
    logit: Floats
    target: NDArray[np.int64]


def _score(model: Model, held: Held) -> _Set:
    wanted = {one.scan.name: one for one in held.assigned if one.split == held.split}
    which = held.frames.of(wanted)
    if not len(which):
        reasons = [reason for name, reason in held.frames.dropped if name in wanted]
        what = f"the external set '{held.name}'" if held.name else f"split '{held.split}'"
        raise DataError(
            f"Not one of the {len(wanted)} scans of {what} could be read, so there is "
            f"nothing to score. First: {reasons[0] if reasons else 'they were not among the data'}"
        )
    card = model.card
    scored = score_scans(model.classifier, held.frames, which, card.aggregation, model.device)
    scans = tuple(wanted[held.frames.scans[place].name] for place in scored.places)
    return _Set(Scored(held.frames, scored.places), scans, scored.logit, scored.target)


def _learnt(held: Held) -> Scored | None:
    """What the model's weights learnt from, of the set that it was trained on."""
    learnt = {one.scan.name for one in held.assigned if one.split == TAUGHT}
    places = [k for k, scan in enumerate(held.frames.scans) if scan.name in learnt]
    return Scored(held.frames, np.array(places, np.int64)) if places else None


def _of_rival(rival: Rival | None, scored: Scored) -> Floats | None:
    return rival.probability(scored.frames.thumbnails[scored.places]) if rival else None


def _views(model: Model, scored: Scored, progress: Progress) -> dict[str, Floats]:
    logits = logits_of_views(model, scored.frames, scored.places, progress)
    calibration = model.card.calibration
    # NaN stays NaN: a scan without usable lungs has no probability in such a view.
    return {key: calibration.probability(logit) for key, logit in logits.items()}
