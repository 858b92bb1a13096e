"""Models loaded once, and the two steps from a scan to its answer."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.answers import Answer, Outcome, Reason
from covidssl.errors import ScanError
from covidssl.hounsfield import Pixels
from covidssl.lesion_model import NO_CLASSIFIER, Answering
from covidssl.lungs import segment_lungs
from covidssl.maps import ScanMaps, maps_of
from covidssl.model import Model
from covidssl.prediction.augmenting import augmented
from covidssl.prediction.backends import backend_of
from covidssl.prediction.gate import reason_of_distance, reasons_of
from covidssl.prediction.members import (
    Distance,
    Member,
    Said,
    middle,
    must_go_together,
    operating_point,
    together,
    uncertainty_of,
)
from covidssl.prediction.outcomes import abstaining, outcome_of
from covidssl.prediction.plan import AnswerPlan
from covidssl.prediction.steps import Answered, Prepared
from covidssl.scan_frames import ScanFrames, frames_of_scan
from covidssl.volume import Volume

_DEFAULT = AnswerPlan()
NO_LESION_MAP = "no_lesion_map"
_NO_LESION_MAP = Reason(
    code=NO_LESION_MAP,
    text="no lungs are known to look for lesions in, and the model gives nothing but lesion maps",
)


class _Asked(NamedTuple):
    """What all members say, and the evidence of the first for each frame where it is known."""

    said: list[Said]
    distance: Distance | None
    evidence: NDArray[np.float32] | None


class Predictor:
    """Answers scans with one model, or with several as an ensemble.

    `prepare` needs no network and may run in several threads or processes at once; `answer` is
    called by one thread, scan by scan: an answer does not depend on what else is asked.

    Several models must see the same frames and name the same classes. Their probability is the mean
    of the calibrated ones; maps are those of the first, whose evidence adds up to its own logit.

    A restoration network alone answers with its lesion map and burden; there is no probability, and
    a scan without a lesion map has no answer.

    Raises:
        UsageError: when models cannot stand together, or not answer as planned, or the backend is
            not installed.
        WeightsError: when the backend onnx says something else than the network.
    """

    def __init__(self, models: Sequence[Answering], plan: AnswerPlan = _DEFAULT) -> None:
        must_go_together(models, plan)
        self.models, self.plan = tuple(models), plan
        self._members = tuple(
            Member(one, backend_of(one, plan)) for one in models if isinstance(one, Model)
        )
        kinds = (frozenset(model.card.pixel_kinds) for model in models)
        # Of a network alone it is so with every scan in HU: `notes` say it once, of the model.
        alone = not self._members
        self._learnt_from = frozenset(Pixels) if alone else frozenset.intersection(*kinds)

    @property
    def model(self) -> Answering:
        """The first model, whose card says how scans are cut and what the classes are called."""
        return self.models[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """What holds of every answer because of the model, and is no reason beside a scan."""
        frame = self.model.card.frame
        if self._members or frame.pixels is not Pixels.WINDOWED:
            return ()
        low, high = frame.window_hu
        return (
            f"The model learnt from windowed grey values: scans in HU are shown to it through "
            f"{low:g} to {high:g} HU.",
        )

    @property
    def sha256(self) -> str:
        """Of the classifiers' weights, joined by `+`; of the restoration network that is alone."""
        return "+".join(model.sha256 for model in self.models)

    def prepare(self, ct: Volume) -> Prepared:
        """Find lungs, cut frames, and judge whether the scan is one to answer for.

        Raises:
            ScanError: when nothing of the scan can be shown to the network; `refused` makes an
                answer of it.
        """
        frame = self.model.card.frame
        lungs = segment_lungs(ct)
        cut = frames_of_scan(ct, lungs, frame, self.model.most_slices)
        reasons = reasons_of(ct, lungs, cut, frame, self._learnt_from)
        return Prepared(ct, lungs, cut, reasons, abstaining(reasons))

    def answer(self, prepared: Prepared) -> Answered:
        """Ask the networks; where the model abstains, they are asked only if that is forced.

        Raises:
            ScanError: when the networks cannot answer.
        """
        if prepared.abstains and not self.plan.force:
            return Answered(prepared, self._abstained(prepared, prepared.reasons))
        if prepared.cut is None:
            raise ScanError(f"{prepared.ct.source}: there is nothing to show to the network.")
        if not self._members:
            return self._lesions(prepared, prepared.cut)
        said, distance, evidence = self._asked(prepared.cut)
        _must_be_finite(prepared, [one.logit for one in said])
        reasons = prepared.reasons
        if distance is not None:
            reasons = (*reason_of_distance(*distance, reasons), *reasons)
        if abstaining(reasons) and not self.plan.force:
            return Answered(prepared, self._abstained(prepared, reasons, distance))
        answer = self._answer(prepared, prepared.cut, said, reasons, distance)
        maps = self._maps(prepared, prepared.cut, said, evidence) if self.plan.maps else None
        burden = None if maps is None else maps.burden
        return Answered(prepared, answer.model_copy(update={"burden": burden}), maps)

    def _lesions(self, prepared: Prepared, cut: ScanFrames) -> Answered:
        """The answer of a restoration network alone."""
        maps = maps_of(self.model, prepared.ct, prepared.lungs, cut)
        if maps.lesion_planes is None:
            reasons = (_NO_LESION_MAP, *prepared.reasons)
            return Answered(prepared, self._abstained(prepared, reasons))
        _must_be_finite(prepared, maps.lesion_planes.values)
        answer = Answer(
            outcome=outcome_of(prepared.reasons, self.plan.force),
            reasons=prepared.reasons,
            no_probability=NO_CLASSIFIER,
            burden=maps.burden,
            **self._facts(prepared, None),
        )
        return Answered(prepared, answer, maps)

    def _asked(self, cut: ScanFrames) -> _Asked:
        """What each model says, or one model of the scan and of its augmentations."""
        found = [
            member.backend.scores(cut.frames, self.plan.maps and member is self._members[0])
            for member in self._members
        ]
        pairs = list(zip(self._members, found, strict=True))
        said = [member.said(one) for member, one in pairs]
        distance = middle([member.distance(one) for member, one in pairs])
        only, plan = self._members[0], self.plan
        for frames in augmented(cut.frames, only.model.card.frame, plan.augmentations, plan.seed):
            said.append(only.said(only.backend.scores(frames)))
        return _Asked(said, distance, found[0].evidence)

    def _answer(
        self,
        prepared: Prepared,
        cut: ScanFrames,
        said: list[Said],
        reasons: tuple[Reason, ...],
        distance: Distance | None,
    ) -> Answer:
        models, card = said[: len(self.models)], self._members[0].model.card
        probability = fmean(one.probability for one in models)
        point = operating_point([member.model for member in self._members])
        several = len(self.models) > 1
        return Answer(
            outcome=outcome_of(reasons, self.plan.force),
            reasons=reasons,
            probability=probability,
            uncertainty=uncertainty_of(said, "ensemble" if several else "test-time augmentation"),
            label=card.classes[probability >= point],
            operating_point=point,
            slices=together(models, cut.slices) if card.frame.depth is None else (),
            **self._facts(prepared, distance),
        )

    def _abstained(
        self, prepared: Prepared, reasons: tuple[Reason, ...], distance: Distance | None = None
    ) -> Answer:
        facts = self._facts(prepared, distance)
        return Answer(outcome=Outcome.ABSTAINED, reasons=reasons, **facts)

    def _facts(self, prepared: Prepared, distance: Distance | None) -> dict[str, Any]:
        """What is said of a scan whatever its outcome."""
        limit = None if distance is None or distance.limit is None else distance.limit.limit
        return {
            "scan": prepared.ct.source,
            "distance": None if distance is None else distance.found,
            "distance_limit": limit,
            "patient": prepared.ct.patient,
            "series": prepared.ct.series,
            "model": self.sha256,
        }

    def _maps(
        self,
        prepared: Prepared,
        cut: ScanFrames,
        said: list[Said],
        evidence: NDArray[np.float32] | None,
    ) -> ScanMaps:
        weight = said[0].weight
        return maps_of(self.model, prepared.ct, prepared.lungs, cut, weight, evidence)


def _must_be_finite(prepared: Prepared, said: Sequence[float] | NDArray[np.float32]) -> None:
    if not np.isfinite(said).all():
        raise ScanError(
            f"{prepared.ct.source}: the network gives no finite number for it. Look at the model: "
            f"its weights may be damaged.",
            "no_answer",
        )
