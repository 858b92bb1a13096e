"""Where fine-tuning starts: a pretrained encoder handed over whole, or one from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import BaseModel

from covidssl.config import changed_keys
from covidssl.errors import UsageError
from covidssl.frames import Frame
from covidssl.networks.encoder import Encoder, build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.randomness import initial_weights
from covidssl.weights import load_encoder, load_restoration

FROM_SCRATCH = "none"


class Start(NamedTuple):
    """What fine-tuning starts from.

    Attributes:
        encoder: the network's beginning.
        frame: that it was trained on, or that it shall be.
        sha256: of the encoder's weights; `none` from scratch.
        restoration: weights of the restoration network beside it, where there is one.
    """

    encoder: Encoder
    frame: Frame
    sha256: str
    restoration: Mapping[str, torch.Tensor] | None


def start_from(
    path: Path | None, frame: Frame | None, plan: EncoderPlan | None, seed: int
) -> Start:
    """Load the encoder at `path`, or draw one from `seed` where there is none.

    Args:
        path: a pretraining run, or an encoder file; None from scratch.
        frame: of the configuration; None: whatever the encoder was trained on.
        plan: architecture of the configuration; None likewise.
        seed: of the first weights.

    Raises:
        UsageError: when the configuration names another frame or architecture than the encoder.
        WeightsError: when the encoder cannot be loaded.
    """
    if path is None:
        with initial_weights(seed):
            encoder = build_encoder(plan or EncoderPlan())
        return Start(encoder, frame or Frame(), FROM_SCRATCH, None)
    encoder, card = load_encoder(path)
    must_agree(path, "frame", frame, card.frame)
    must_agree(path, "encoder", plan, card.encoder)
    beside = (path if path.is_dir() else path.parent) / "restoration.safetensors"
    restoration = load_restoration(beside)[0].state_dict() if beside.is_file() else None
    return Start(encoder, card.frame, card.sha256, restoration)


def must_agree(path: Path, key: str, wanted: BaseModel | None, found: BaseModel) -> None:
    """Refuse weights that were not trained on what the configuration says.

    Raises:
        UsageError: that lists the differing keys.
    """
    if wanted is None or wanted == found:
        return
    differences = "; ".join(f"{key}.{change}" for change in changed_keys(wanted, found))
    raise UsageError(
        f"{path}: these weights were not trained on what the configuration says "
        f"(configuration -> weights): {differences}. Change the configuration, or leave '{key}' "
        f"out of it to take the encoder's own."
    )
