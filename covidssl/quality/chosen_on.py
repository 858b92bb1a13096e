"""Prints of the labelled scans that chose an encoder: they must not test what is made of it."""

from __future__ import annotations

from pathlib import Path

import torch

from covidssl.errors import DataError, WeightsError
from covidssl.splits import Learnt
from covidssl.weights import read_weights, save_weights

CHOSEN_ON = "chosen_on.safetensors"


def write_chosen_on(folder: Path, learnt: Learnt) -> None:
    """Write the prints beside the encoder; no name is among them."""
    prints = {"hashes": learnt.hashes, "voxels": learnt.voxels, "chose": learnt.chose}
    tensors = {name: torch.from_numpy(array.copy()) for name, array in prints.items()}
    save_weights(folder / CHOSEN_ON, tensors)


def read_chosen_on(encoder: Path) -> Learnt | None:
    """The prints beside an encoder, given its run or its file; None where no labels chose it.

    Raises:
        WeightsError: when the file holds something else.
    """
    file = (encoder if encoder.is_dir() else encoder.parent) / CHOSEN_ON
    if not file.is_file():
        return None
    tensors = read_weights(file)
    try:
        return Learnt(*(tensors[name].numpy() for name in ("hashes", "voxels", "chose")))
    except (KeyError, DataError) as error:
        raise WeightsError(
            f"{file}: does not hold what an encoder was chosen on. Pretrain it again, or take the "
            f"file away: then scans that chose it may test what is made of it, unnoticed."
        ) from error
