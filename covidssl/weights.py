"""Weights with their cards: safetensors and JSON, loaded strictly, never a pickle."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from covidssl.encoder_card import LICENCE_NOTE as LICENCE_NOTE
from covidssl.encoder_card import EncoderCard as EncoderCard
from covidssl.encoder_card import Origin as Origin
from covidssl.encoder_card import frame_must_fit as frame_must_fit
from covidssl.errors import WeightsError
from covidssl.files import write_bytes, write_text
from covidssl.folder_kinds import what_is
from covidssl.legible import all_legible
from covidssl.model_page import encoder_markdown
from covidssl.networks.encoder import Encoder, build_encoder
from covidssl.networks.unet import RestorationUNet
from covidssl.shipped import BUILTIN, shipped

log = logging.getLogger(__name__)

C = TypeVar("C", bound=BaseModel)
N = TypeVar("N", bound=nn.Module)

MOST_BYTES = 4 * 2**30
"""A file larger than this holds no encoder: a ResNet-50 takes 0.1 GiB."""

MOST_CARD_BYTES = 2**22
RESTORATION = "restoration.safetensors"


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
    content = _content(path)
    if sha256 is not None:
        _must_be(path, hashlib.sha256(content).hexdigest(), sha256)
    return _parsed(path, content)


def _content(path: Path) -> bytes:
    """The bytes of what may be a safetensors file."""
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such weights file.")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise WeightsError(
            f"{path}: {size / 2**30:.1f} GiB are no encoder; at most {MOST_BYTES // 2**30} GiB are "
            f"read. Give the file of the weights alone, without the optimiser's state."
        )
    content = path.read_bytes()
    # A safetensors file begins with a length, which may look like either, and then has a brace.
    if content.startswith((b"PK", b"\x80")) and content[8:9] != b"{":
        raise WeightsError(
            f"{path}: this is a pickle (a PyTorch checkpoint), which can run any program when it "
            f"is read; it is refused. Expected a .safetensors file written by covidssl."
        )
    return content


def _parsed(path: Path, content: bytes) -> dict[str, torch.Tensor]:
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
    _must_match(module, tensors, what)
    module.load_state_dict(dict(tensors), strict=True)
    log.debug("%s: %d of %d tensors matched", what, len(tensors), len(tensors))
    return len(tensors)


def built_with(build: Callable[[], N], tensors: Mapping[str, torch.Tensor], what: str) -> N:
    """The network that a card describes, with its weights, in use.

    Its shapes are compared before anything is allocated: a card may say any number.

    Args:
        build: makes the network.
        tensors: its weights.
        what: the file, for messages.

    Raises:
        WeightsError: as `load_strictly`.
    """
    with torch.device("meta"):
        _must_match(build(), tensors, what)
    network = build()
    load_strictly(network, tensors, what)
    return network.eval()


def _must_match(module: nn.Module, tensors: Mapping[str, torch.Tensor], what: str) -> None:
    wanted = module.state_dict()
    shapes = [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & tensors.keys())
        if tensors[name].shape != wanted[name].shape
    ]
    differences = [
        f"{len(names)} {kind} (first: {names[0]})"
        for kind, names in (
            ("missing", sorted(wanted.keys() - tensors.keys())),
            ("not expected", sorted(tensors.keys() - wanted.keys())),
            ("of another shape", shapes),
        )
        if names
    ]
    if differences:
        raise WeightsError(
            f"{what}: the weights do not fit the network that their card describes: "
            f"{'; '.join(differences)}. Nothing was loaded."
        )


def read_card(path: Path, kind: type[C]) -> C:
    """Read a JSON card.

    Raises:
        WeightsError: when it is missing, no JSON, or lacks or misnames an entry.
    """
    if not path.is_file():
        raise WeightsError(
            f"{path}: the card that must stand beside the weights is missing; copy it too."
        )
    if path.stat().st_size > MOST_CARD_BYTES:
        raise WeightsError(
            f"{path}: {path.stat().st_size} bytes are no card, which has some thousand. Copy the "
            f"card again."
        )
    try:
        text = path.read_text(encoding="utf-8")
        card = kind.model_validate_json(text)
    except (ValidationError, UnicodeDecodeError) as error:
        reasons = (
            "; ".join(map(_reason, error.errors()[:3]))
            if isinstance(error, ValidationError)
            else "it is no text"
        )
        raise WeightsError(f"{path}: no card of this version of covidssl: {reasons}.") from error
    if not all_legible(json.loads(text)):
        raise WeightsError(
            f"{path}: holds control characters, which a terminal would obey; no card has them."
        )
    return card


def _reason(error: ErrorDetails) -> str:
    where, said = ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


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

    Every tensor must match. Of a folder that holds a restoration network alone, such as `builtin`,
    the encoder is that network's; the SHA-256 on its card is then of the whole network.

    Raises:
        UsageError: when `builtin` could mean a folder, too.
        WeightsError: when weights or card are missing or do not fit each other.
    """
    file = shipped(path)
    if file.is_dir():
        if holds_restoration_alone(file):
            network, card = load_restoration(file)
            return network.encoder, card.model_copy(update={"holds": "encoder"})
        file = encoder_file(file)
    return _load(file, "encoder", lambda card: build_encoder(card.encoder))


def encoder_file(folder: Path) -> Path:
    """Where a run of `pretrain` keeps its encoder.

    Raises:
        WeightsError: for a folder without one, which says what the folder is.
    """
    file = folder / "encoder.safetensors"
    if not (file.exists() or file.with_suffix(".json").exists()):
        raise WeightsError(
            f"{file}: there is no such weights file. {folder} {what_is(folder)} Expected a run of "
            f"`covidssl pretrain`, the file of an encoder, or `{BUILTIN}`."
        )
    return file


def holds_restoration_alone(folder: Path) -> bool:
    """Whether a folder holds a restoration network, and no file of its encoder."""
    file = folder / RESTORATION
    network = (file, file.with_suffix(".json"))
    encoder = (folder / "encoder.safetensors", folder / "encoder.json")
    return any(one.exists() for one in network) and not any(one.exists() for one in encoder)


def load_restoration(path: Path | str) -> tuple[RestorationUNet, EncoderCard]:
    """Build a restoration network again from its file, or from the folder that holds it.

    Raises:
        UsageError: when `builtin` could mean a folder, too.
        WeightsError: when weights or card are missing or do not fit each other.
    """
    file = shipped(path)
    return _load(
        file / RESTORATION if file.is_dir() else file,
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
    content = _content(file)
    tensors = _parsed(file, content)
    card = read_card(file.with_suffix(".json"), EncoderCard)
    if card.holds != holds:
        raise WeightsError(f"{file}: holds {_NAMES[card.holds]}; expected {_NAMES[holds]}.")
    network = built_with(lambda: build(card), tensors, file.name)
    _must_be(file, hashlib.sha256(content).hexdigest(), card.sha256)
    return network, card


def _must_be(file: Path, found: str, sha256: str) -> None:
    if found != sha256:
        raise WeightsError(
            f"{file}: these are not the weights that the card beside them was written for "
            f"(SHA-256 differs). One of the two was changed or cut short; copy both again."
        )
