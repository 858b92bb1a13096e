"""Weights with their cards: safetensors and JSON, loaded strictly, never a pickle."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from covidssl.errors import WeightsError
from covidssl.files import sha256_of, write_bytes, write_text
from covidssl.frames import Frame
from covidssl.model_page import encoder_markdown
from covidssl.networks.encoder import Encoder, build_encoder
from covidssl.networks.plan import EncoderPlan, LesionMap
from covidssl.networks.unet import RestorationUNet
from covidssl.version import __version__

log = logging.getLogger(__name__)

C = TypeVar("C", bound=BaseModel)
N = TypeVar("N", bound=nn.Module)

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
        foreign: where weights come from that covidssl has not trained, such as `timm resnet50`.
        drawn: tensors that the foreign file did not hold, and that were drawn from the seed.
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
    drawn: tuple[str, ...] = ()
    licence_note: str = LICENCE_NOTE
    sha256: str


def save_weights(path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Write tensors to a safetensors file, whole or not at all; gives its SHA-256."""
    content = save_tensors({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def read_weights(path: Path, sha256: str | None = None) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Args:
        path: the file.
        sha256: what its card says it is; None where there is no card to compare with.

    Raises:
        WeightsError: for a missing, truncated or foreign file, a pickle above all, and for one
            that is not the file its card was written for.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such weights file.")
    content = path.read_bytes()
    # A safetensors file begins with a length, which may look like either, and then has a brace.
    if content.startswith((b"PK", b"\x80")) and content[8:9] != b"{":
        raise WeightsError(
            f"{path}: this is a pickle (a PyTorch checkpoint), which can run any program when it "
            f"is read; it is refused. Expected a .safetensors file written by covidssl."
        )
    if sha256 is not None:
        _must_be(path, hashlib.sha256(content).hexdigest(), sha256)
    try:
        return load_tensors(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path}: no readable safetensors file, perhaps cut short ({len(content)} bytes). "
            f"Copy or train it again."
        ) from error


def load_strictly(module: nn.Module, tensors: Mapping[str, torch.Tensor], what: str) -> int:
    """Load every tensor into `module`, or none; gives their number and logs it.

    Raises:
        WeightsError: that lists what is missing, what is too much and which shapes differ.
    """
    wanted = module.state_dict()
    missing = sorted(wanted.keys() - tensors.keys())
    surplus = sorted(tensors.keys() - wanted.keys())
    shapes = [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & tensors.keys())
        if tensors[name].shape != wanted[name].shape
    ]
    if missing or surplus or shapes:
        differences = [
            f"{len(names)} {kind} (first: {names[0]})"
            for kind, names in (
                ("missing", missing),
                ("not expected", surplus),
                ("of another shape", shapes),
            )
            if names
        ]
        raise WeightsError(
            f"{what}: the weights do not fit the network that their card describes: "
            f"{'; '.join(differences)}. Nothing was loaded."
        )
    module.load_state_dict(dict(tensors), strict=True)
    log.info("%s: %d of %d tensors matched", what, len(tensors), len(wanted))
    return len(tensors)


def read_card(path: Path, kind: type[C]) -> C:
    """Read a JSON card.

    Raises:
        WeightsError: when it is missing, no JSON, or lacks or misnames an entry.
    """
    if not path.is_file():
        raise WeightsError(
            f"{path}: the card that must stand beside the weights is missing; copy it too."
        )
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        reasons = (
            "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
            if isinstance(error, ValidationError)
            else "it is no text"
        )
        raise WeightsError(f"{path}: no card of this version of covidssl: {reasons}.") from error


def save_encoder_file(
    path: Path, network: nn.Module, tensors: Mapping[str, torch.Tensor], card: EncoderCard
) -> EncoderCard:
    """Write weights and, beside them, their card (`encoder.safetensors`, `encoder.json`).

    `tensors` (of `network`'s names) are what is written; the card gets their SHA-256. An encoder
    gets its card in Markdown too (`encoder.md`).
    """
    unknown = tensors.keys() ^ network.state_dict().keys()
    if unknown:
        raise WeightsError(f"{path.name}: not the weights of this network: {sorted(unknown)[:3]}.")
    card = card.model_copy(update={"sha256": save_weights(path, tensors)})
    write_text(path.with_suffix(".json"), card.model_dump_json(indent=2) + "\n")
    if card.holds == "encoder":
        write_text(path.with_suffix(".md"), encoder_markdown(card.model_dump(mode="json")))
    return card


def load_encoder(path: Path | str) -> tuple[Encoder, EncoderCard]:
    """Build an encoder again from its file, or from the folder of the run that wrote it.

    Every tensor must match.

    Raises:
        WeightsError: when weights or card are missing or do not fit each other.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "encoder.safetensors"
    return _load(file, "encoder", lambda card: build_encoder(card.encoder))


def load_restoration(path: Path) -> tuple[RestorationUNet, EncoderCard]:
    """Build a restoration network again from its file.

    Raises:
        WeightsError: when weights or card are missing or do not fit each other.
    """
    return _load(
        path,
        "restoration",
        lambda card: RestorationUNet(build_encoder(card.encoder), card.lesion_map),
    )


_NAMES = {"encoder": "an encoder", "restoration": "a restoration network"}


def _load(
    file: Path, holds: Literal["encoder", "restoration"], build: Callable[[EncoderCard], N]
) -> tuple[N, EncoderCard]:
    """Weights into the network that the card beside them describes.

    The shapes are compared before the SHA-256, since they say more about what is wrong.
    """
    tensors = read_weights(file)
    card = read_card(file.with_suffix(".json"), EncoderCard)
    if card.holds != holds:
        raise WeightsError(f"{file}: holds {_NAMES[card.holds]}; expected {_NAMES[holds]}.")
    network = build(card)
    load_strictly(network, tensors, file.name)
    _must_be(file, sha256_of(file), card.sha256)
    return network.eval(), card


def _must_be(file: Path, found: str, sha256: str) -> None:
    if found != sha256:
        raise WeightsError(
            f"{file}: these are not the weights that the card beside them was written for "
            f"(SHA-256 differs). One of the two was changed or cut short; copy both again."
        )
