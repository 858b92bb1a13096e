"""What weights learnt from, or were chosen on, as the file that lies beside them."""

from __future__ import annotations

from pathlib import Path

import torch

from covidssl.errors import DataError, WeightsError
from covidssl.splits.learnt import Learnt
from covidssl.weights import read_weights, save_weights

_PRINTS = ("hashes", "voxels", "chose")


def save_learnt(path: Path, learnt: Learnt) -> str:
    """Write the prints, whole or not at all; no name is among them. Gives the file's SHA-256."""
    return save_weights(
        path, {name: torch.from_numpy(getattr(learnt, name).copy()) for name in _PRINTS}
    )


def read_learnt(path: Path, sha256: str | None = None) -> Learnt:
    """Read the prints.

    Args:
        path: the file.
        sha256: what the card beside it says it is; None where it says nothing.

    Raises:
        WeightsError: when the file is missing, another one than the card's, or holds something
            else.
    """
    tensors = read_weights(path, sha256)
    try:
        return Learnt(*(tensors[name].numpy() for name in _PRINTS))
    except (KeyError, DataError) as error:
        raise WeightsError(
            f"{path}: does not hold what the weights beside it learnt from or were chosen on. "
            f"Train them again, or take the file away: then that cannot be checked."
        ) from error
