"""What one YAML holds: the whole truth of a run of each verb."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from covidssl.augment import AugmentRanges
from covidssl.calibration import CalibrationKind, OperatingPointPlan, YoudenPoint
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.io.reading import Policy
from covidssl.legible import legible
from covidssl.lesions import LesionRanges, Lesions, preset_names
from covidssl.model import Aggregation, Learns
from covidssl.networks.heads import HeadPlan
from covidssl.networks.plan import EncoderPlan
from covidssl.pretext import Course, PerlinPretext, PretextPlan
from covidssl.quality.plan import QualityPlan
from covidssl.splits import SplitPlan
from covidssl.training import TrainingPlan

PREVIEW_PIXELS = 224
"""Edge of a preview's frame, unless its size is given."""

MOST_SLICES = 32
"""Slices of a preview: more do not fit a page that somebody looks at."""


class Experiment(BaseModel):
    """What all verbs have: a seed, and no key that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0)


class PrepareConfig(Experiment):
    """Configuration of `covidssl prepare`.

    Attributes:
        pixels: take every scan for this kind of pixel; None: as its format says.
        min_lung_share: slices with less lung than this share of the picture are left out.
        policy: `skip` leaves defective scans out, `repair` mends what can be mended, `strict`
            refuses to finish where there are any.
        lungs: how lungs are found: `threshold`, or `lungmask` where its weights are in place.
        all_series: take every DICOM series, not the best one of those that share a folder.
        hash_paths: call scans by pseudonyms of their paths.
        keep_ids: write the headers' own patient and series identifiers into the table.
        ids_key: file with the key of the pseudonyms, made where there is none; None: beside the
            store's folder. A path: it is written into no file of the run.
        lungs_folder: lung masks that are there already, to be used in place of finding lungs.
            A path, likewise.
    """

    pixels: Pixels | None = None
    min_lung_share: float = Field(0.06, ge=0, le=1)
    policy: Policy = Policy.SKIP
    lungs: Literal["threshold", "lungmask"] = "threshold"
    all_series: bool = False
    hash_paths: bool = False
    keep_ids: bool = False
    ids_key: Path | None = Field(None, exclude=True)
    lungs_folder: Path | None = Field(None, exclude=True)


class PackConfig(Experiment):
    """Configuration of `covidssl pack`.

    Attributes:
        frame: how slices are cut: as in the training that will read them.
        bits: of a pixel; 16 give what the store gives to the last bit, 8 take half the room.
    """

    frame: Frame = Frame()
    bits: Literal[8, 16] = 16


class PreviewConfig(Experiment):
    """Configuration of `covidssl preview`.

    Attributes:
        frame: how slices are cut.
        lesions: what the sheet shows; a column of the page as well where it is given.
        presets: columns of the page, by the names of presets.
        ranges: further columns, each by its name.
        slices: rows of the sheet and of the page.
        slab: whether the slices are neighbours in one scan, and each column one draw in three
            dimensions through all of them.
    """

    frame: Frame = Frame(size=PREVIEW_PIXELS)
    lesions: Lesions = LesionRanges()
    presets: tuple[str, ...] = preset_names()
    ranges: dict[Annotated[str, Field(min_length=1, max_length=200)], Lesions] = {}
    slices: int = Field(6, ge=1, le=MOST_SLICES)
    slab: bool = False

    @field_validator("frame", mode="before")
    @classmethod
    def _is_large(cls, frame: Any) -> Any:
        # A frame of which only the pixels are said is still one to look at.
        return {"size": PREVIEW_PIXELS} | frame if isinstance(frame, dict) else frame

    @field_validator("presets")
    @classmethod
    def _are_known(cls, presets: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in presets if name not in preset_names()]
        if unknown:
            raise ValueError(f"no preset '{unknown[0]}'; there are {', '.join(preset_names())}")
        if len(set(presets)) < len(presets):
            raise ValueError("a preset is named twice")
        return presets

    @model_validator(mode="after")
    def _columns_have_names_of_their_own(self) -> Self:
        taken = sorted(set(self.ranges) & set(self.presets))
        if taken:
            raise ValueError(f"'{taken[0]}' is a column already; give its ranges another name")
        return self


class PretrainConfig(Experiment):
    """Configuration of `covidssl pretrain`.

    Attributes:
        frame: how slices are cut; travels with the weights.
        encoder: architecture.
        pretext: what teaches the encoder, and how.
        training: steps, batch, rate.
        checkpoint_every: steps between checkpoints.
        pictures_every: steps between pictures corrupted / restored / clean.
        quality: how the encoder is looked at while it learns.
    """

    frame: Frame = Frame()
    encoder: EncoderPlan = EncoderPlan()
    pretext: PretextPlan = PerlinPretext()
    training: TrainingPlan = TrainingPlan()
    checkpoint_every: int = Field(100, ge=1)
    pictures_every: int = Field(200, ge=1)
    quality: QualityPlan = QualityPlan()

    def probing(self, labelled: Path | None, cache: Path | None) -> Self:
        """The same, with a labelled set to probe on and a folder for its cut frames."""
        given = {"labelled": labelled, "cache": cache}
        update = {key: path for key, path in given.items() if path is not None}
        return self.model_copy(update={"quality": self.quality.model_copy(update=update)})

    @model_validator(mode="after")
    def _frame_fits(self) -> Self:
        _must_fit(self.frame, self.encoder)
        return self

    @model_validator(mode="after")
    def _pretext_fits(self) -> Self:
        course = Course(self.frame.shape, len(self.encoder.channels), self.training)
        misfits = self.pretext.misfits(course)
        if misfits:
            raise ValueError("; ".join(misfits))
        return self


class FinetuneConfig(Experiment):
    """Configuration of `covidssl finetune`.

    Attributes:
        positive_class: name of the class that means COVID-19.
        frame: how slices are cut, for a network from scratch; a pretrained encoder brings its own,
            and a frame given here must then be the same.
        encoder: architecture, in the same way.
        head: what stands on the encoder: a linear head, or attention over a scan's slices.
        learns: `all`, the `head` alone, or nothing once the linear `probe` is fitted.
        frozen_levels: of the encoder, the shallowest first, that do not learn.
        split: who trains, validates, tests.
        augment: how frames are moved and windowed while it learns.
        training: steps, batch, rate.
        head_rate: share of the learning rate that the head gets. It starts from a fitted probe
            of hundreds of features, and a full rate would throw that away within a few steps.
        attention_rate: share that the head's attention gets, which starts from nothing.
        layer_decay: share of a level's rate that the level above it gets.
        validate_every: steps between validations; the best one is kept.
        checkpoint_every: steps between checkpoints.
        aggregation: from slices to a scan.
        calibration: from a logit to a probability, fitted on validation: `platt` (scale and bias),
            `temperature` (scale alone) or `isotonic`.
        operating_point: rule by which validation chooses the threshold: `youden`, a target
            `sensitivity`, or least `cost`.
        burden_threshold: network units of the lesion map above which a pixel counts as lesion
            (0.15 of the default window is 210 HU).
    """

    # Classes of a table are often called 0 and 1.
    positive_class: str = Field("COVID", coerce_numbers_to_str=True)
    frame: Frame | None = None
    encoder: EncoderPlan | None = None
    head: HeadPlan = HeadPlan()
    learns: Learns = "all"
    frozen_levels: int = Field(0, ge=0)
    split: SplitPlan = SplitPlan()
    augment: AugmentRanges = AugmentRanges()
    training: TrainingPlan = TrainingPlan(steps=300, learning_rate=1e-4, weight_decay=1e-2)
    head_rate: float = Field(0.1, ge=0, le=1)
    attention_rate: float = Field(10.0, ge=0)
    layer_decay: float = Field(1.0, gt=0, le=1)
    validate_every: int = Field(25, ge=1)
    checkpoint_every: int = Field(50, ge=1)
    aggregation: Aggregation = Aggregation()
    calibration: CalibrationKind = "platt"
    operating_point: OperatingPointPlan = YoudenPoint()
    burden_threshold: float = Field(0.15, gt=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _attention_brings_its_rule(cls, values: Any) -> Any:
        head, aggregation = (values.get(key) or {} for key in ("head", "aggregation"))
        if not isinstance(head, dict) or head.get("kind") != "attention":
            return values
        if not isinstance(aggregation, dict):
            return values
        return values | {"aggregation": {"rule": "attention"} | aggregation}

    @model_validator(mode="after")
    def _frame_fits(self) -> Self:
        if self.frame is not None:
            _must_fit(self.frame, self.encoder or EncoderPlan())
        return self

    @model_validator(mode="after")
    def _head_fits(self) -> Self:
        if self.augment.ranked or self.augment.blanked:
            raise ValueError("augment.ranked and .blanked are of pretraining alone: leave them out")
        kind, rule = self.head.kind, self.aggregation.rule
        if (kind == "attention") != (rule == "attention"):
            raise ValueError(
                f"head.kind {kind} does not go with aggregation.rule {rule}: a head of attention "
                f"has that rule, and no other head has it; leave aggregation.rule out"
            )
        if self.learns != "all" and self.frozen_levels:
            raise ValueError(
                f"learns {self.learns} freezes every level of the encoder: leave frozen_levels out"
            )
        return self


class AuditConfig(Experiment):
    """Configuration of `covidssl audit`.

    Attributes:
        positive_class: name of the class that means COVID-19.
        most_slices: slices of one scan that are looked at, spread evenly.
        folds: of the random, blocked, grouped and patient splits.
        gap: scans of a class left out of training at each border of a block.
        run_length: consecutive files that stand for one patient when intervals are computed, where
            no patient is known and file order carries patients.
        rounds: of the bootstrap.
        permutations: shuffled orders of the order test.
        examples: pairs of pictures of each kind on the page.
    """

    positive_class: str = Field("COVID", coerce_numbers_to_str=True)
    most_slices: int = Field(8, ge=1)
    folds: int = Field(5, ge=2, le=20)
    gap: int = Field(30, ge=0)
    run_length: int = Field(20, ge=1)
    rounds: int = Field(1000, ge=100)
    permutations: int = Field(999, ge=99)
    examples: int = Field(6, ge=0, le=30)


Column = Annotated[str, AfterValidator(legible)]
"""A column of a labelled table, spelt as tables and pages show it."""


class EvaluateConfig(Experiment):
    """Configuration of `covidssl evaluate`.

    Attributes:
        split: which part of the data is scored; `all` for another dataset.
        rounds: of the bootstrap.
        rival: whether trivial models are trained on the same labels and scored beside the model.
        views: whether the model is scored on images without what a shortcut feeds on too, and all
            trivial models of the audit beside it; without, the one trivial rival.
        by: further columns of the labelled CSV by whose values subgroups are scored.
        prevalence: shares of positives for which PPV, NPV and accuracy are given.
        run_length: consecutive files that stand for one patient when intervals are computed, where
            no patient is known and file order carries patients.
    """

    split: str = "test"
    rounds: int = Field(2000, ge=100)
    rival: bool = True
    views: bool = True
    by: tuple[Column, ...] = ()
    prevalence: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    run_length: int = Field(20, ge=1)


class CompareConfig(Experiment):
    """Configuration of `covidssl compare`.

    Attributes:
        rounds: of the bootstrap.
    """

    rounds: int = Field(2000, ge=100)


class PredictConfig(Experiment):
    """Configuration of `covidssl predict`.

    Attributes:
        pixels: take every scan for this kind of pixel; None: as its format says.
        policy: `skip` and `strict` let defective scans fail; `repair` mends what can be mended.
        all_series: take every DICOM series, not the best one of those that share a folder.
        hash_paths: call scans by pseudonyms of their paths.
        keep_ids: write the headers' own patient and series identifiers into the table.
        ids_key: file with the key of the pseudonyms, made where there is none; with it, or with
            keep_ids, the table names patients and series. None: beside the output, and only where
            paths are hashed. A path: it is written into no file of the run.
        backend, force, augmentations, maps: as in `prediction.AnswerPlan`.
        dicom: write the maps as DICOM SEG and SR, too, where a scan is DICOM.
    """

    pixels: Pixels | None = None
    policy: Policy = Policy.SKIP
    all_series: bool = False
    hash_paths: bool = False
    keep_ids: bool = False
    ids_key: Path | None = Field(None, exclude=True)
    backend: Literal["torch", "onnx"] = "torch"
    force: bool = False
    augmentations: int = Field(0, ge=0, le=64)
    maps: bool = True
    dicom: bool = False


def _must_fit(frame: Frame, encoder: EncoderPlan) -> None:
    if frame.dimensions != encoder.dimensions:
        what = "volumes" if frame.depth else "slices"
        raise ValueError(
            f"frame.depth {frame.depth} means {what}, and encoder.dimensions is "
            f"{encoder.dimensions}: set encoder.dimensions={frame.dimensions}"
        )
