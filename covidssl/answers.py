"""What is said of one scan: its outcome, its probability with its evidence, and why or why not."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Outcome(StrEnum):
    """What became of a scan."""

    OK = "ok"
    """Answered."""
    WARNED = "warned"
    """Answered, with reasons beside it to look twice."""
    ABSTAINED = "abstained"
    """Readable, but nothing that the model can answer for: no probability."""
    FAILED = "failed"
    """Not readable."""


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Reason(_Said):
    """Why an answer is not simply `ok`.

    Attributes:
        code: one word for tables; docs/inference.md lists them.
        text: in plain words, with numbers.
    """

    code: str
    text: str


class LungBurden(_Said):
    """Lesion in one lung or in both.

    Attributes:
        percent: of the lung's volume.
        lesion_ml, lung_ml: volumes; None where the spacing is not known.
    """

    percent: float = Field(ge=0, le=100)
    lesion_ml: _Amount | None = None
    lung_ml: _Amount | None = None


class Burden(_Said):
    """Lesion in the lungs; of a side None where the lungs are not told apart."""

    both: LungBurden
    right: LungBurden | None = None
    left: LungBurden | None = None


class SliceSaid(_Said):
    """A slice that was looked at.

    Attributes:
        slice: its place in the upright scan, the lowest is 0.
        probability: calibrated, of this slice by itself.
        weight: by how much it counts in the scan's logit; all sum to 1.
    """

    slice: int = Field(ge=0)
    probability: float = Field(ge=0, le=1)
    weight: float = Field(ge=0, le=1)


class Uncertainty(_Said):
    """How far the answer moves when the question is put a little differently.

    Attributes:
        low, high: lowest and highest calibrated probability of the members.
        spread: standard deviation of the members' logits.
        of: what the members are.
        members: how many.
    """

    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    spread: _Amount
    of: Literal["test-time augmentation", "ensemble"]
    members: int = Field(ge=2)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"the lowest, {self.low:g}, is above the highest, {self.high:g}")
        return self


class Answer(_Said):
    """What is said of one scan, as its JSON file holds it.

    Attributes:
        scan: its name: the path below the INPUT, or a pseudonym of it.
        outcome: what became of it.
        reasons: why it is not simply `ok`; empty where it is.
        probability: calibrated, of the positive class; None where there is no answer, and where
            the model gives none.
        no_probability: why a scan that was answered has none; empty where it has one, and where
            there is no answer.
        uncertainty: of the probability; None where it was not asked for.
        label: the class at the operating point; empty where there is no probability.
        operating_point: of the model.
        burden: label-free lesion in the lungs; None without a restoration network or lungs.
        slices: that were looked at.
        distance: of its pooled features from those of the training set; None where the model has
            no such limit, or nothing was answered.
        distance_limit: above which it is unlike anything that the model has learnt from.
        patient, series: pseudonyms, where asked for.
        files: products by kind, as paths below the output folder.
        model: SHA-256 of the classifier's weights; of an ensemble those of all, joined by `+`; of a
            restoration network alone, that of its weights.
    """

    format: Literal["covidssl-answer-1"] = "covidssl-answer-1"
    scan: str
    outcome: Outcome
    reasons: tuple[Reason, ...] = ()
    probability: float | None = Field(None, ge=0, le=1)
    no_probability: str = ""
    uncertainty: Uncertainty | None = None
    label: str = ""
    operating_point: float | None = Field(None, ge=0, le=1)
    burden: Burden | None = None
    slices: tuple[SliceSaid, ...] = ()
    distance: FiniteFloat | None = None
    distance_limit: FiniteFloat | None = None
    patient: str = ""
    series: str = ""
    files: dict[str, str] = {}
    model: str = ""
