"""A restoration network alone as a model: lesion maps and burden, and no probability."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from covidssl.encoder_card import INTENDED_USE, EncoderCard
from covidssl.errors import WeightsError
from covidssl.folder_kinds import what_is
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.model import Model, holds_model, lacks_classifier, load_model
from covidssl.networks.unet import RestorationUNet
from covidssl.shipped import BUILTIN, shipped
from covidssl.weights import load_restoration

BURDEN_THRESHOLD = 0.15
"""Network units of the lesion map above which a pixel counts, as fine-tuning sets it: 210 HU."""

NO_CLASSIFIER = "the model is a restoration network alone, without a classifier"
_LIFTS_LESIONS = ("", "perlin")  # in cards from when there was no other pretext it is not named


class LesionCard(BaseModel):
    """What a restoration network is as a model; what `card.json` is of one that classifies.

    Attributes:
        network: the card beside its weights, with how well it localises where that was measured.
        frame: pixel kind, window, size and crop of the network's input.
        burden_threshold: network units of the lesion map above which a pixel counts as lesion, in
            burden and map. It is the same for all networks; `network.localised.threshold` is the
            one by which Dice was measured, and has no part in it.
        most_slices: of a scan that pictures are made of; the map is made on all of the lungs.
        pixel_kinds: kinds of pixel that the scans had which it learnt from; empty: not known.
        intended_use: what it is for, and what it is not for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["covidssl-lesions-1"] = "covidssl-lesions-1"
    network: EncoderCard
    frame: Frame
    burden_threshold: float = Field(BURDEN_THRESHOLD, ge=0, allow_inf_nan=False)
    most_slices: int = Field(24, ge=1)
    pixel_kinds: tuple[Pixels, ...] = ()
    intended_use: str = INTENDED_USE


@dataclass(frozen=True)
class LesionModel:
    """A restoration network ready for use, without a classifier.

    Attributes:
        card: what it is.
        restoration: its network.
    """

    card: LesionCard
    restoration: RestorationUNet

    def to(self, device: torch.device) -> LesionModel:
        """The same model on another device."""
        self.restoration.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next(self.restoration.parameters()).device

    @property
    def sha256(self) -> str:
        """Of the network's weights."""
        return self.card.network.sha256

    @property
    def most_slices(self) -> int:
        """Of a scan that are looked at."""
        return self.card.most_slices


Answering = Model | LesionModel
"""What `predict` asks."""


def load_answering(path: Path | str) -> Answering:
    """Load a model for `predict`: with a classifier, or a restoration network alone.

    Args:
        path: a model folder, a fine-tuning run, a pretraining run or another folder with a
            restoration network, or `builtin`.

    Raises:
        UsageError: when `builtin` could mean a folder, too.
        WeightsError: when a file is missing, was changed, is a pickle or does not fit its card;
            when a file is given instead of its folder, or what the network restores are no lesions.
    """
    folder = shipped(path)
    if not holds_model(folder) and not lacks_classifier(folder):
        raise WeightsError(
            f"{path}: {what_is(folder)} Expected a run of `covidssl finetune` or of `covidssl "
            f"pretrain`, or `{BUILTIN}`."
        )
    return load_lesion_model(folder) if lacks_classifier(folder) else load_model(folder)


def load_lesion_model(folder: Path) -> LesionModel:
    """Load a folder with a restoration network.

    Raises:
        WeightsError: as `load_answering`.
    """
    network, card = load_restoration(folder)
    if card.pretext not in _LIFTS_LESIONS:
        raise WeightsError(
            f"{folder}: was taught by {card.pretext}, and what it restores are no lesions: it "
            f"gives no lesion map. Expected a run of the pretext perlin, or a fine-tuned model."
        )
    if card.frame is None:
        raise WeightsError(
            f"{folder}: its card names no frame, and nobody knows what the network sees. Expected "
            f"a network that `covidssl pretrain` wrote."
        )
    return LesionModel(LesionCard(network=card, frame=card.frame), network)
