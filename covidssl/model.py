"""The model folder: a classifier with all that it takes to use it, and nothing that can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from covidssl.calibration import Calibration
from covidssl.encoder_card import INTENDED_USE as INTENDED_USE
from covidssl.errors import WeightsError
from covidssl.files import write_text
from covidssl.folder_kinds import what_is
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.model_page import model_markdown
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.heads import HeadPlan
from covidssl.networks.plan import EncoderPlan, LesionMap
from covidssl.networks.unet import RestorationUNet
from covidssl.out_of_distribution import (
    DistanceLimit,
    TrainingFeatures,
    read_training_features,
    save_training_features,
)
from covidssl.shipped import shipped
from covidssl.splits import Learnt, read_learnt, save_learnt
from covidssl.weights import (
    LICENCE_NOTE,
    Origin,
    built_with,
    frame_must_fit,
    read_card,
    read_weights,
    save_weights,
)
from covidssl.weights import RESTORATION as RESTORATION

CLASSIFIER, CARD = "classifier.safetensors", "card.json"
LEARNT, PAGE = "learnt.safetensors", "MODEL.md"
FEATURES = "training_frames.safetensors"
_FEATURES_OF_MEANS = "training_features.safetensors"
Floats = NDArray[np.float64]
Learns = Literal["all", "head", "probe"]
"""What fine-tuning moves: all levels that are not frozen, the head alone, or nothing once the
linear probe is fitted."""


class Aggregation(BaseModel):
    """How the slices of a scan become one answer.

    Attributes:
        rule: the scan's logit is the mean of those of all slices looked at (`mean`), of the highest
            third (`top_third`), or of all with the weights that the head learnt (`attention`);
            `whole_volume`: it is that of the one volume which the scan is cut to.
        most_slices: slices looked at, at most, spread evenly over those with enough lung.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Literal["mean", "top_third", "attention", "whole_volume"] = "mean"
    most_slices: int = Field(24, ge=1)

    def weights(self, logits: Floats, attention: Floats | None = None) -> Floats:
        """By how much each slice of a scan (N,) counts in its logit; they sum to 1.

        Args:
            logits: of its slices (N,).
            attention: of its slices (N,), before the softmax; asked of the rule `attention` alone.

        Raises:
            ValueError: when that rule is given no attention.
        """
        if self.rule == "top_third":
            counted = np.zeros(len(logits))
            highest = max(1, round(len(logits) / 3))
            counted[np.argsort(logits, kind="stable")[-highest:]] = 1 / highest
            return counted
        if self.rule == "attention":
            if attention is None:
                raise ValueError("The rule 'attention' needs the head's attention.")
            raised: Floats = np.exp(attention - attention.max())
            raised /= raised.sum()
            return raised
        return np.full(len(logits), 1 / len(logits))

    def of(self, logits: Floats, attention: Floats | None = None) -> float:
        """The logit of a scan from those of its slices (N,), with the rule's `weights`."""
        return float(self.weights(logits, attention) @ logits)


class ModelCard(BaseModel):
    """What `card.json` says.

    Attributes:
        classes: names of the negative and of the positive class.
        encoder: architecture.
        head: what stands on it.
        frame: pixel kind, window, size and crop of the network's input.
        operating_point: probability from which on the label is the positive class.
        operating_point_rule: how it was chosen, on validation.
        calibration: from the logit to the probability, fitted on validation.
        aggregation: from slices to a scan.
        burden_threshold: network units of the lesion map above which a pixel counts as lesion.
        lesion_map: what the restoration network predicts the lesion map from.
        pretrained_from: fingerprint of the encoder's weights, or `none`; of a model that goes on
            from another one, what that one was pretrained from.
        continues: SHA-256 of the classifier that it went on from; empty where there was none.
        learns: what fine-tuning moved.
        frozen_levels: of the encoder, the shallowest first, that stayed as they came.
        trained_on: data and run.
        metrics: on validation.
        leakage: what leaks through the splits that it was trained on, in words, where that was
            allowed; empty where nothing was found. Every page says it.
        unchecked: what could not be checked for leakage, in words; empty where all was.
        splits: `splits_fingerprint` of what it was trained on; empty in cards from before.
        distance: from where on a scan is unlike those that were learnt from; None where nothing
            says so.
        pixel_kinds: kinds of pixel that the scans had which it learnt from; empty in cards from
            before, which do not say.
        files: SHA-256 of each file of weights, and of what else lies beside the card.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["covidssl-model-1"] = "covidssl-model-1"
    classes: tuple[str, str]
    encoder: EncoderPlan
    head: HeadPlan = HeadPlan()
    frame: Frame
    operating_point: float = Field(ge=0, le=1, allow_inf_nan=False)
    operating_point_rule: str
    calibration: Calibration
    aggregation: Aggregation
    burden_threshold: float = Field(ge=0, allow_inf_nan=False)
    lesion_map: LesionMap = "decoder"
    pretrained_from: str
    continues: str = ""
    learns: Learns = "all"
    frozen_levels: int = Field(0, ge=0)
    trained_on: Origin
    metrics: dict[str, float]
    leakage: str = ""
    unchecked: str = ""
    splits: str = ""
    distance: DistanceLimit | None = None
    pixel_kinds: tuple[Pixels, ...] = ()
    intended_use: str = INTENDED_USE
    licence_note: str = LICENCE_NOTE
    files: dict[str, str]

    @field_validator("calibration")
    @classmethod
    def _calibration_is_finite(cls, calibration: Calibration) -> Calibration:
        if calibration.fault():
            raise ValueError(calibration.fault())
        return calibration

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        frame_must_fit(self.frame, self.encoder)
        rule, head = self.aggregation.rule, self.head.kind
        if (rule == "whole_volume") != (self.frame.depth is not None):
            raise ValueError(
                f"aggregation.rule {rule} does not go with frame.depth {self.frame.depth}: volumes "
                f"have the rule whole_volume, and slices have another"
            )
        if (rule == "attention") != (head == "attention"):
            raise ValueError(f"aggregation.rule {rule} does not go with head.kind {head}")
        return self


@dataclass(frozen=True)
class Model:
    """A classifier ready for use.

    Attributes:
        card: what it is.
        classifier: its network.
        restoration: None where it was trained from scratch.
        learnt: by what the scans that it learnt from are known again; None where that is not there.
        features: of training's frames, by which a scan unlike them is told; None in models from
            before.
    """

    card: ModelCard
    classifier: CovidClassifier
    restoration: RestorationUNet | None
    learnt: Learnt | None = None
    features: TrainingFeatures | None = None

    def to(self, device: torch.device) -> Model:
        """The same model on another device."""
        self.classifier.to(device)
        if self.restoration is not None:
            self.restoration.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next(self.classifier.parameters()).device

    @property
    def sha256(self) -> str:
        """Of the classifier's weights."""
        return self.card.files[CLASSIFIER]

    @property
    def most_slices(self) -> int:
        """Of a scan that are looked at."""
        return self.card.aggregation.most_slices


def save_model(
    folder: Path,
    card: ModelCard,
    classifier: Mapping[str, torch.Tensor],
    restoration: Mapping[str, torch.Tensor] | None,
    learnt: Learnt | None = None,
    features: TrainingFeatures | None = None,
) -> ModelCard:
    """Write a model folder; the card comes last, so that a folder without one is not whole."""
    files = {CLASSIFIER: save_weights(folder / CLASSIFIER, classifier)}
    if restoration is not None:
        files[RESTORATION] = save_weights(folder / RESTORATION, restoration)
    if learnt is not None:
        files[LEARNT] = save_learnt(folder / LEARNT, learnt)
    if features is not None:
        files[FEATURES] = save_training_features(folder / FEATURES, features)
    card = card.model_copy(update={"files": files})
    write_text(folder / PAGE, model_markdown(card.model_dump(mode="json")))
    write_text(folder / CARD, card.model_dump_json(indent=2) + "\n")
    return card


def lacks_classifier(folder: Path) -> bool:
    """Whether a folder holds a restoration network, and nothing of a model that classifies."""
    file = folder / RESTORATION
    model = (folder / CARD, folder / CLASSIFIER, folder / "model")
    there = file.exists() or file.with_suffix(".json").exists()
    return there and not any(one.exists() for one in model)


def holds_model(folder: Path) -> bool:
    """Whether a folder, or the run that it is, holds anything of a model that classifies."""
    places = (folder, folder / "model")
    return any((place / name).exists() for place in places for name in (CARD, CLASSIFIER))


def load_model(path: Path | str) -> Model:
    """Load a model folder, or the fine-tuning run that holds one.

    `learnt.safetensors` may be missing: who passes a model on may take it away.

    Raises:
        UsageError: when `builtin` could mean a folder, too.
        WeightsError: when a file is missing, was changed, is a pickle, or does not fit the card;
            and for a folder without a classifier.
    """
    folder = shipped(path)
    if lacks_classifier(folder):
        raise WeightsError(
            f"{path}: holds a restoration network and no classifier. It gives lesion maps with "
            f"`covidssl predict`, and no probability; here a fine-tuned model is expected, which "
            f"`covidssl finetune --encoder {path}` makes of it."
        )
    if not holds_model(folder):
        raise WeightsError(f"{path}: {what_is(folder)} Expected a run of `covidssl finetune`.")
    if not (folder / CARD).is_file() and (folder / "model").is_dir():
        folder = folder / "model"
    card = read_card(folder / CARD, ModelCard)
    if CLASSIFIER not in card.files:
        raise WeightsError(f"{folder / CARD}: names no {CLASSIFIER}; the card is not whole.")
    if _FEATURES_OF_MEANS in card.files:
        raise WeightsError(
            f"{folder / CARD}: names {_FEATURES_OF_MEANS}, whose distances shrink with the number "
            f"of slices; expected {FEATURES}, of frames. Fine-tune the model again."
        )
    weights = read_weights(folder / CLASSIFIER, card.files[CLASSIFIER])
    classifier = built_with(
        lambda: CovidClassifier(build_encoder(card.encoder), card.head), weights, CLASSIFIER
    )
    restoration = None
    if RESTORATION in card.files:
        weights = read_weights(folder / RESTORATION, card.files[RESTORATION])
        restoration = built_with(
            lambda: RestorationUNet(build_encoder(card.encoder), card.lesion_map),
            weights,
            RESTORATION,
        )
    learnt = None
    if LEARNT in card.files and (folder / LEARNT).is_file():
        learnt = read_learnt(folder / LEARNT, card.files[LEARNT])
    features = None
    if FEATURES in card.files:
        width = len(classifier.feature_mean)
        features = read_training_features(folder / FEATURES, card.files[FEATURES], width)
    return Model(card, classifier, restoration, learnt, features)
