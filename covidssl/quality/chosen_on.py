"""Prints of the labelled scans that chose an encoder: they must not test what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from covidssl.shipped import shipped
from covidssl.splits import Learnt, read_learnt, save_learnt
from covidssl.weights import EncoderCard, read_card

CHOSEN_ON = "chosen_on.safetensors"

_LOST = (
    f"labelled scans chose the encoder that it started from, and {CHOSEN_ON}, by which they are "
    f"known again, is not beside it"
)


class ChosenOn(NamedTuple):
    """What is known of the labelled scans that chose an encoder, or one that it started from.

    Attributes:
        learnt: their prints; None where there are none.
        sha256: of the file of prints; empty where there is none.
        unchecked: what cannot be checked, in words; empty where all can.
    """

    learnt: Learnt | None = None
    sha256: str = ""
    unchecked: str = ""


def write_chosen_on(folder: Path, own: Learnt | None, before: ChosenOn) -> ChosenOn:
    """Write the prints beside the encoder of a run, where there are any.

    Args:
        folder: of the run.
        own: prints of the scans that choose among the run's encoders; None where none do.
        before: of what the run starts from.
    """
    known = [one for one in (before.learnt, own) if one is not None]
    if not known:
        return ChosenOn(unchecked=before.unchecked)
    learnt = known[0] if len(known) == 1 else known[0].joined(known[1])
    return ChosenOn(learnt, save_learnt(folder / CHOSEN_ON, learnt), before.unchecked)


def read_chosen_on(encoder: Path) -> ChosenOn:
    """What stands beside an encoder, given its run, its file or `builtin`, and on its card.

    Raises:
        WeightsError: when there is no card, or the prints are not those that it names.
    """
    encoder = shipped(encoder)
    folder, card_file = encoder.parent, encoder.with_suffix(".json")
    if encoder.is_dir():
        folder, card_file = encoder, encoder / "encoder.json"
        if not card_file.is_file() and (encoder / "restoration.json").is_file():
            card_file = encoder / "restoration.json"
    card = read_card(card_file, EncoderCard)
    file = folder / CHOSEN_ON
    if file.is_file():
        learnt = read_learnt(file, card.chosen_on or None)
        return ChosenOn(learnt, card.chosen_on, card.unchecked)
    return ChosenOn(unchecked=card.unchecked or (_LOST if card.chosen_on else ""))
