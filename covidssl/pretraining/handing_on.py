"""What a pretraining hands on: its encoder and, where there is one, its restoration network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from covidssl.experiments import PretrainConfig
from covidssl.networks.unet import RestorationUNet
from covidssl.pretraining.watching import Kept
from covidssl.quality import ChosenOn
from covidssl.weights import EncoderCard, Origin, save_encoder_file


@dataclass(frozen=True)
class HandingOn:
    """Where weights of a pretraining go, and what their cards say.

    Attributes:
        config: what was trained, and how.
        network: whose weights they are.
        origin: the data; the step is that of the weights.
        out: the run folder.
        chosen: the labelled scans that chose them, or what the run started from.
        init: card of the weights that the run started from: their terms and their origin are those
            of what is made of them; None from scratch.
    """

    config: PretrainConfig
    network: nn.Module
    origin: Origin
    out: Path
    chosen: ChosenOn = ChosenOn()
    init: EncoderCard | None = None

    def save(self, kept: Kept, files: str = "") -> None:
        """Write the encoder and the restoration; `files` begins their names."""
        config, weights = self.config, kept.weights
        metrics = {n: value for n, value in kept.metrics.items() if n != "images_per_second"}
        card = EncoderCard(
            holds="encoder",
            encoder=config.encoder,
            pretext=config.pretext.kind,
            frame=config.frame,
            trained_on=self.origin.model_copy(update={"steps": kept.step}),
            metrics=metrics,
            chosen_on=self.chosen.sha256,
            unchecked=self.chosen.unchecked,
            sha256="",
        )
        if self.init is not None:
            came = {"pretrained_from": self.init.sha256, "foreign": self.init.foreign}
            card = card.model_copy(update={**came, "licence_note": self.init.licence_note})
        if isinstance(self.network, RestorationUNet):
            whole = {"holds": "restoration", "lesion_map": self.network.lesion_map}
            card = card.model_copy(update=whole)
            file = self.out / f"{files}restoration.safetensors"
            save_encoder_file(file, self.network, weights, card)
        prefix = "encoder."
        encoder = {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
        card = card.model_copy(update={"holds": "encoder"})
        part = self.network.get_submodule("encoder")
        save_encoder_file(self.out / f"{files}encoder.safetensors", part, encoder, card)
