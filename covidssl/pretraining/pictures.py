"""Pictures of a pretraining as it learns: always the same ones, so that they can be compared."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from covidssl.clean_slices import StoredPictures
from covidssl.figures import columns_picture, restoration_picture
from covidssl.files import write_bytes
from covidssl.pretext import PretextTask
from covidssl.training import Share

PICTURE_BYTES = 800_000
"""Of a page of four slices of textured lung; most are smaller."""

_SHOWN = 4
_FIXED_STEP = 10**9  # no run gets so far: the pictures watched are none that are learnt from


class PicturesWatched:
    """Four pictures spread over the store, and draws of the task that no step has.

    Args:
        task: what teaches the encoder.
        slices: all pictures of the store.
        folder: where the pages are written.
    """

    def __init__(self, task: PretextTask, slices: StoredPictures, folder: Path) -> None:
        self._task, self._folder = task, folder
        fixed = slices.spread(_SHOWN)
        self._examples = task.examples(fixed, Share(_FIXED_STEP, 0, len(fixed.frames)))

    @torch.no_grad()
    def draw(self, network: nn.Module, step: int) -> None:
        """Write what the network makes of them after this step."""
        network.eval()
        device = next(network.parameters()).device
        examples = type(self._examples)(*(tensor.to(device) for tensor in self._examples))
        shown = self._task.shown(network, examples)
        draw = restoration_picture if "restored" in shown else columns_picture
        write_bytes(self._folder / f"step-{step:06d}.png", draw(shown))
