"""What each model, or each augmentation, says of a scan; and what they say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.answers import SliceSaid, Uncertainty
from covidssl.errors import UsageError
from covidssl.lesion_model import Answering
from covidssl.model import Model
from covidssl.out_of_distribution import DistanceLimit
from covidssl.prediction.backends import Backend, FramesSaid
from covidssl.prediction.plan import AnswerPlan

Of = Literal["test-time augmentation", "ensemble"]


class Distance(NamedTuple):
    """How far a scan is from a model's training scans, and from where on that is too far."""

    found: float
    limit: DistanceLimit | None


class Said(NamedTuple):
    """What one member says of a scan.

    Attributes:
        logit: of the scan.
        probability: calibrated.
        weight: (N,) by how much each frame counts.
        of_frames: (N,) calibrated probability of each frame by itself.
    """

    logit: float
    probability: float
    weight: NDArray[np.float64]
    of_frames: NDArray[np.float64]


@dataclass(frozen=True)
class Member:
    """A model with what runs it."""

    model: Model
    backend: Backend

    def said(self, found: FramesSaid) -> Said:
        """A scan's answer from those of its frames, by the model's card."""
        card = self.model.card
        scores = (found.logit, found.attention)
        logit, chance = card.aggregation.of(*scores), card.calibration.probability
        weight = card.aggregation.weights(*scores)
        return Said(logit, float(chance(logit)), weight, chance(found.logit))

    def distance(self, found: FramesSaid) -> Distance | None:
        """Of a scan; None for a model that cannot tell."""
        if self.model.features is None:
            return None
        return Distance(self.model.features.of_scan(found.features), self.model.card.distance)


def must_go_together(models: Sequence[Answering], plan: AnswerPlan) -> None:
    """Refuse models that cannot answer as one, or not as the plan asks.

    Raises:
        UsageError: for no model; for two that see or name different things, or are the same; for
            several with test-time augmentation; and for a restoration network alone with another
            model, or with a plan that needs a classifier.
    """
    if not models:
        raise UsageError("No model was given; expected one, or several as an ensemble.")
    classifying = [model for model in models if isinstance(model, Model)]
    if len(classifying) < len(models):
        _must_suit_lesions(models, plan)
    else:
        _must_be_ensemble(classifying, plan)


def _must_suit_lesions(models: Sequence[Answering], plan: AnswerPlan) -> None:
    asked = {
        "--ensemble": len(models) > 1,
        "--augmentations": plan.augmentations > 0,
        "--backend onnx": plan.backend == "onnx",
        "--no-maps": not plan.maps,
    }
    refused = [option for option, given in asked.items() if given]
    if refused:
        raise UsageError(
            f"{', '.join(refused)}: the model is a restoration network alone, which gives lesion "
            f"maps and burden, and no probability that this could be of. Leave it out, or give a "
            f"fine-tuned model."
        )


def _must_be_ensemble(models: Sequence[Model], plan: AnswerPlan) -> None:
    first = models[0].card
    for number, model in enumerate(models[1:], start=2):
        for name, one, other in (
            ("classes", first.classes, model.card.classes),
            ("frame", first.frame, model.card.frame),
            ("aggregation.most_slices", *(c.aggregation.most_slices for c in (first, model.card))),
        ):
            if one != other:
                raise UsageError(
                    f"Model {number} cannot stand in an ensemble with the first: {name} is "
                    f"{other}, and that of the first is {one}. Give models fine-tuned alike."
                )
    if len({model.sha256 for model in models}) < len(models):
        raise UsageError("A model was given twice; an ensemble is of different ones.")
    if len(models) > 1 and plan.augmentations:
        raise UsageError(
            "Test-time augmentation tells the uncertainty of one model, and several were given, "
            "whose spread tells it. Set augmentations to 0, or give one model."
        )


def uncertainty_of(members: Sequence[Said], of: Of) -> Uncertainty | None:
    """How far members differ; None of one alone."""
    if len(members) < 2:
        return None
    chances = [one.probability for one in members]
    return Uncertainty(
        low=min(chances),
        high=max(chances),
        spread=float(np.std([one.logit for one in members])),
        of=of,
        members=len(members),
    )


def together(members: Sequence[Said], slices: NDArray[np.int64]) -> tuple[SliceSaid, ...]:
    """What they say of each slice (N,), on average."""
    chance = np.mean([one.of_frames for one in members], axis=0)
    weight = np.mean([one.weight for one in members], axis=0)
    return tuple(
        SliceSaid(slice=int(k), probability=float(p), weight=float(w))
        for k, p, w in zip(slices, chance, weight, strict=True)
    )


def middle(distances: Sequence[Distance | None]) -> Distance | None:
    """Of an ensemble, the distance of the member in the middle, by its own limit.

    Members without a limit do not count, unless none has one. Of an even number it is the farther
    one of the two in the middle.
    """
    known = [one for one in distances if one is not None]
    ranked = [one for one in known if one.limit is not None] or known
    if not ranked:
        return None

    def share(one: Distance) -> float:
        return one.found / (one.limit.limit if one.limit else 1.0)

    return sorted(ranked, key=share)[len(ranked) // 2]


def operating_point(models: Sequence[Model]) -> float:
    """Of an ensemble the mean of its models', since none was chosen for it."""
    return fmean(model.card.operating_point for model in models)
