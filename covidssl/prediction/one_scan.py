"""One scan in, a probability with its evidence out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from covidssl.answers import Answer
from covidssl.io import read_ct
from covidssl.lesion_model import Answering, load_answering
from covidssl.maps import ScanMaps
from covidssl.prediction.plan import AnswerPlan
from covidssl.prediction.predictor import Predictor
from covidssl.prediction.steps import Answered
from covidssl.slice_pictures import deciding_picture
from covidssl.volume import Volume

_DEFAULT = AnswerPlan()


@dataclass(frozen=True)
class Prediction:
    """What a model says of one scan.

    Attributes:
        answered: the scan as it was looked at, the answer, and the maps.
    """

    answered: Answered

    @property
    def answer(self) -> Answer:
        """All that is said, as it stands in a scan's JSON file."""
        return self.answered.answer

    @property
    def probability(self) -> float | None:
        """Calibrated, of the positive class; None where the model abstains, or gives none."""
        return self.answer.probability

    @property
    def label(self) -> str:
        """The class at the operating point; empty where there is no probability."""
        return self.answer.label

    @property
    def maps(self) -> ScanMaps | None:
        """The lesion map, and the evidence map of a model with a classifier."""
        return self.answered.maps

    @cached_property
    def picture(self) -> bytes:
        """A PNG of the slices that decided, with both maps."""
        return deciding_picture(self.answered.prepared.ct, self.answer, self.maps)


def predict(
    model: Answering | Path | str, scan: Volume | Path | str, plan: AnswerPlan = _DEFAULT
) -> Prediction:
    """The probability of COVID-19 for one scan, with its evidence. Research use only.

    Args:
        model: a loaded model, the path of a model folder or fine-tuning run, or `builtin`: a
            restoration network, which gives lesion maps and no probability.
        scan: an upright CT, or the path of a file or of a DICOM folder.
        plan: how it is answered.

    Raises:
        ScanError: when the scan cannot be read or its pixels do not suit the network.
        WeightsError: when the model cannot be loaded.
    """
    model = load_answering(model) if isinstance(model, Path | str) else model
    ct = scan if isinstance(scan, Volume) else read_ct(scan)
    predictor = Predictor([model], plan)
    return Prediction(predictor.answer(predictor.prepare(ct)))
