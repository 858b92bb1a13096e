"""What stands beside the weights of an encoder or of a restoration network."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from covidssl.frames import Frame
from covidssl.hounsfield import Window
from covidssl.networks.plan import EncoderPlan, LesionMap
from covidssl.version import __version__

INTENDED_USE = (
    "Research on lung CT. Not a medical device: not for diagnosis, triage or treatment of patients."
)
LICENCE_NOTE = (
    "The weights carry whatever terms the licence of the data that they were trained on lays on "
    "them; covidssl itself is Apache-2.0. For research; not a medical device."
)


class Origin(BaseModel):
    """What weights were trained on.

    Attributes:
        data_fingerprint: of the store or dataset.
        pictures: how many slices or frames were learnt from.
        steps: optimiser steps taken.
        seed: of the run.
        covidssl: version that wrote the weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_fingerprint: str
    pictures: int
    steps: int
    seed: int
    covidssl: str = __version__


class Measured(BaseModel):
    """A score with its interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


class Localisation(BaseModel):
    """How well a restoration network's lesion map finds what readers drew.

    Attributes:
        protocol: how it was measured, in words: scans, pixels, intervals.
        threshold: network units of the lesion map above which a pixel counted for Dice; burden and
            map have a threshold of their own.
        cases: of each scan its scores, such as `ap`, `dice` and `auroc`, each with its interval.
        design: those of the cases that served to design the map: their scores are too good.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str = Field(min_length=1)
    threshold: float = Field(ge=0, allow_inf_nan=False)
    cases: dict[str, dict[str, Measured]] = Field(min_length=1)
    design: tuple[str, ...] = ()


class EncoderCard(BaseModel):
    """What stands beside `encoder.safetensors` or `restoration.safetensors`.

    Attributes:
        holds: the encoder alone, or the whole restoration network.
        encoder: architecture.
        lesion_map: what a restoration network predicts the lesion map from.
        pretext: kind of the pretext that taught it; empty for foreign weights, and in cards from
            when there was none but `perlin`.
        frame: that it was taught on; None where any may be used.
        trained_on: data and run; of foreign weights the data's fingerprint is the SHA-256 of the
            file that they were read from.
        metrics: at the end of its training.
        foreign: where weights come from that covidssl has not trained, such as `timm resnet50`;
            of an encoder that was pretrained further from such, those that it began with.
        window_hu: through which foreign weights saw HU, where that is known; a frame may differ.
        pretrained_from: SHA-256 of the weights that pretraining started from, or `none`.
        drawn: tensors that the foreign file did not hold, and that were drawn from the seed.
        chosen_on: SHA-256 of the prints of the labelled scans that chose it, or what it started
            from (`chosen_on.safetensors`); empty where no labels did.
        unchecked: what cannot be checked of those scans, in words; empty where all can.
        localised: how well a restoration network's lesion map does; None where it was not measured.
        intended_use: what it is for, and what it is not for.
        licence_note: what is known of the terms.
        sha256: of the weights file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["covidssl-encoder-1"] = "covidssl-encoder-1"
    holds: Literal["encoder", "restoration"]
    encoder: EncoderPlan
    lesion_map: LesionMap = "decoder"
    pretext: str = ""
    frame: Frame | None
    trained_on: Origin
    metrics: dict[str, float]
    foreign: str = ""
    window_hu: Window | None = None
    pretrained_from: str = "none"
    drawn: tuple[str, ...] = ()
    chosen_on: str = ""
    unchecked: str = ""
    localised: Localisation | None = None
    intended_use: str = INTENDED_USE
    licence_note: str = LICENCE_NOTE
    sha256: str

    @model_validator(mode="after")
    def _frame_fits(self) -> Self:
        if self.frame is not None:
            frame_must_fit(self.frame, self.encoder)
        return self


def frame_must_fit(frame: Frame, plan: EncoderPlan) -> None:
    """Refuse a card whose frame is of other dimensions than its encoder.

    Raises:
        ValueError: that says both.
    """
    if frame.dimensions != plan.dimensions:
        raise ValueError(
            f"frame.depth {frame.depth} does not go with encoder.dimensions {plan.dimensions}"
        )
