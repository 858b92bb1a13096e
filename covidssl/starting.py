"""Where fine-tuning starts: a pretrained encoder handed over whole, or one from scratch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import BaseModel
from torch import nn

from covidssl.config import changed_keys, overrides_to
from covidssl.errors import UsageError
from covidssl.frames import Frame
from covidssl.model import Aggregation
from covidssl.networks.encoder import Encoder, build_encoder
from covidssl.networks.plan import EncoderPlan, LesionMap
from covidssl.networks.unet import RestorationUNet
from covidssl.quality import read_chosen_on
from covidssl.randomness import initial_weights
from covidssl.shipped import shipped
from covidssl.splits import Learnt
from covidssl.weights import (
    LICENCE_NOTE,
    EncoderCard,
    encoder_file,
    load_encoder,
    load_restoration,
    load_strictly,
    read_card,
)

log = logging.getLogger(__name__)

FROM_SCRATCH = "none"
DEFAULT_DEPTH = 64
"""Slices of a volume's frame, where neither weights nor configuration say how many."""


class Start(NamedTuple):
    """What fine-tuning starts from.

    Attributes:
        encoder: the network's beginning.
        frame: that it was trained on, or that it shall be.
        sha256: of the encoder's weights; `none` from scratch.
        restoration: weights of the restoration network beside it, where there is one that lifts
            lesions off.
        lesion_map: what that network predicts the lesion map from.
        licence_note: what is known of the terms that the weights came with.
        chosen_on: prints of the labelled scans that chose the encoder among others of its run, or
            chose what that run started from; of a model that is gone on from, all it learnt from.
        unchecked: what cannot be checked of such scans, in words.
    """

    encoder: Encoder
    frame: Frame
    sha256: str
    restoration: Mapping[str, torch.Tensor] | None
    lesion_map: LesionMap = "decoder"
    licence_note: str = LICENCE_NOTE
    chosen_on: Learnt | None = None
    unchecked: str = ""


def start_from(
    path: Path | None, frame: Frame | None, plan: EncoderPlan | None, seed: int
) -> Start:
    """Load the encoder at `path`, or draw one from `seed` where there is none.

    Args:
        path: a pretraining run, an encoder file, or `builtin`; None from scratch.
        frame: of the configuration; None: whatever the encoder was trained on. Weights from
            elsewhere were trained on no frame of ours: they take the configuration's.
        plan: architecture of the configuration; None likewise.
        seed: of the first weights.

    Raises:
        UsageError: when the configuration names another frame or architecture than the encoder,
            or a frame of slices for an encoder of volumes, or the other way round.
        WeightsError: when the encoder cannot be loaded.
    """
    if path is None:
        plan = plan or EncoderPlan()
        frame = _seen_by(plan, frame)
        with initial_weights(seed):
            encoder = build_encoder(plan)
        return Start(encoder, frame, FROM_SCRATCH, None)
    path = shipped(path)
    encoder, card = load_encoder(path)
    must_agree(path, _taught_on(card, frame, plan), may_leave_out=True)
    frame = _frame_of(path, card, frame)
    alone = Start(encoder, frame, card.sha256, None, licence_note=card.licence_note)
    chosen = read_chosen_on(path)
    alone = alone._replace(chosen_on=chosen.learnt, unchecked=chosen.unchecked)
    beside = (path if path.is_dir() else path.parent) / "restoration.safetensors"
    if not beside.is_file() or not _belongs_to(beside, card):
        return alone
    restoration, its_card = load_restoration(beside)
    return alone._replace(restoration=restoration.state_dict(), lesion_map=its_card.lesion_map)


def _belongs_to(restoration: Path, encoder: EncoderCard) -> bool:
    """Whether a restoration network lifts lesions off, and was taught with the encoder beside it.

    Another one would show lesions of another frame, or not fit the model's card.
    """
    card = read_card(restoration.with_suffix(".json"), EncoderCard)
    # What a comparator restores are no lesions: it must not be taken for what lifts them off.
    if card.pretext not in ("", "perlin"):
        return False
    keys = ("encoder", "frame", "trained_on", "pretext")
    others = [key for key in keys if getattr(card, key) != getattr(encoder, key)]
    if others:
        log.warning(
            "%s: left out, it was not taught with the encoder beside it (other %s). The model "
            "gives no lesion burden.", restoration, ", ".join(others),
        )  # fmt: skip
    return not others


def scan_rule(aggregation: Aggregation, frame: Frame) -> Aggregation:
    """The rule by which a scan is answered for when it is cut to such frames.

    Raises:
        UsageError: when the configuration asks for a rule over slices where a scan is one volume,
            or for that of volumes where it is many slices.
    """
    rule = aggregation.rule
    if frame.depth is None:
        if rule == "whole_volume":
            raise UsageError(
                "aggregation.rule whole_volume: these frames are slices, of which a scan has many. "
                "Take mean, top_third or attention, or an encoder of volumes with frame.depth."
            )
        return aggregation
    if rule not in ("mean", "whole_volume"):
        raise UsageError(
            f"aggregation.rule {rule} goes over the slices of a scan; these frames are volumes "
            f"(frame.depth {frame.depth}), of which a scan has one. Leave the rule out, and take "
            f"head.kind linear: on a volume it answers for the scan."
        )
    return aggregation.model_copy(update={"rule": "whole_volume"})


def must_have_levels(frozen: int, plan: EncoderPlan) -> None:
    """Refuse to freeze more levels than the encoder has.

    Raises:
        UsageError: when it has fewer.
    """
    if frozen > len(plan.channels):
        raise UsageError(
            f"frozen_levels {frozen}: the encoder has {len(plan.channels)} levels. Take fewer, or "
            f"set learns=head to freeze all of them."
        )


def _seen_by(plan: EncoderPlan, frame: Frame | None) -> Frame:
    """The configuration's frame, or the plainest one that an encoder takes."""
    axes = plan.dimensions
    seen = frame or Frame(depth=None if axes == 2 else DEFAULT_DEPTH)
    if seen.dimensions != axes:
        raise UsageError(
            f"The encoder takes {'slices' if axes == 2 else 'volumes'} (encoder.dimensions {axes}),"
            f" and frame.depth is {seen.depth}. "
            f"{'Leave frame.depth out' if axes == 2 else 'Give frame.depth, such as 32'}, or take "
            f"another encoder."
        )
    return seen


def start_pretraining(
    network: nn.Module, path: Path, frame: Frame, plan: EncoderPlan
) -> EncoderCard:
    """Load weights to start pretraining from; gives their card.

    Of an encoder's file, or where the network is no restoration network, the encoder alone is
    loaded, and the rest of the network stays as it was drawn.

    Args:
        network: with a part `encoder`; its weights are changed.
        path: a pretraining run, a restoration network's file, an encoder's, or `builtin`.
        frame: of the configuration.
        plan: architecture of the configuration.

    Raises:
        UsageError: when the configuration names another frame or architecture.
        WeightsError: when the weights cannot be loaded.
    """
    file = path = shipped(path)
    if path.is_dir():
        whole = path / "restoration.safetensors"
        file = whole if whole.is_file() else encoder_file(path)
    card_file = file.with_suffix(".json")
    alone = card_file.is_file() and read_card(card_file, EncoderCard).holds == "encoder"
    started, card = load_encoder(file) if alone else load_restoration(file)
    must_agree(path, _taught_on(card, frame, plan))
    _frame_of(path, card, frame)
    target: nn.Module = network
    if isinstance(started, Encoder):
        target = network.get_submodule("encoder")
    elif not isinstance(network, RestorationUNet):
        started, target = started.encoder, network.get_submodule("encoder")
    load_strictly(target, started.state_dict(), f"{path.name}, to start from")
    return card


def _taught_on(
    card: EncoderCard, frame: Frame | None, plan: EncoderPlan | None
) -> dict[str, tuple[BaseModel | None, BaseModel]]:
    """What a configuration says beside what an encoder was taught on, by the part's key."""
    parts: dict[str, tuple[BaseModel | None, BaseModel]] = {"encoder": (plan, card.encoder)}
    return parts if card.frame is None else {"frame": (frame, card.frame)} | parts


def _frame_of(path: Path, card: EncoderCard, frame: Frame | None) -> Frame:
    """The frame that an encoder was taught on; any where it was taught on none of ours."""
    if card.frame is not None:
        return card.frame
    seen = _seen_by(card.encoder, frame)
    if card.window_hu is not None and seen.window_hu != card.window_hu:
        theirs = seen.model_copy(update={"window_hu": card.window_hu})
        log.warning(
            "%s: these weights saw HU through the window %s; frame.window_hu is %s. To show them "
            "what they know: %s.",
            path, list(card.window_hu), list(seen.window_hu),
            " ".join(overrides_to(seen, theirs, "frame.")),
        )  # fmt: skip
    return seen


def must_agree(
    path: Path,
    parts: Mapping[str, tuple[BaseModel | None, BaseModel]],
    may_leave_out: bool = False,
) -> None:
    """Refuse weights that were not trained on what the configuration says.

    Args:
        path: of the weights.
        parts: by key, what the configuration says (None: nothing) and what the weights' card says.
        may_leave_out: whether a part that the configuration does not name is the weights' own.

    Raises:
        UsageError: that lists the differing keys of all parts, and the options that mend them.
    """
    told: list[str] = []
    options: list[str] = []
    keys: list[str] = []
    for key, (wanted, found) in parts.items():
        if wanted is not None and wanted != found:
            told += [f"{key}.{change}" for change in changed_keys(wanted, found)]
            options += overrides_to(wanted, found, f"{key}.")
            keys.append(f"'{key}'")
    if not told:
        return
    leave = f"Leave {' and '.join(keys)} out of it, or add" if may_leave_out else "Add"
    raise UsageError(
        f"{path}: these weights were not trained on what the configuration says "
        f"(configuration -> weights): {'; '.join(told)}. {leave} to the command: "
        f"{' '.join(options)}"
    )
