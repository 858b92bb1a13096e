"""The examples of the steps to come, made while the step at hand is computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch.utils.data import DataLoader

from covidssl.training.processes import process_of
from covidssl.training.tasks import Examples, Share, Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

B = TypeVar("B")


class Coming(Generic[B]):
    """Makes the examples of one step after the other, on a GPU in a stream beside the network's.

    `make_next` is to be called as soon as the step at hand was queued: a GPU then copies and draws
    for the next step while the network is busy. Examples depend on (seed, step) alone, so it makes
    no difference when they are made.
    """

    def __init__(
        self, fabric: Fabric, batches: DataLoader[B], task: Task[B], first_step: int
    ) -> None:
        self.fabric, self.task, self.step = fabric, task, first_step
        self._process = process_of(fabric)
        self._batches: Iterator[B] = iter(batches)
        self._stream = torch.cuda.Stream(fabric.device) if fabric.device.type == "cuda" else None

    def make_next(self) -> Examples | None:
        """Begin to make the examples of the next step; None after the last one."""
        batch = next(self._batches, None)
        if batch is None:
            return None
        pictures = len(batch[0])  # type: ignore[index]  # every batch of ours is a tuple
        share = Share(self.step, self._process.place * pictures, pictures)
        self.step += 1
        with torch.cuda.stream(self._stream) if self._stream else nullcontext():
            return self.task.examples(self.fabric.to_device(batch), share)

    def wait_for(self, examples: Examples) -> None:
        """Let the network's stream wait until these examples are made."""
        if self._stream is None:
            return
        here = torch.cuda.current_stream(self.fabric.device)
        here.wait_stream(self._stream)
        for tensor in examples:
            if isinstance(tensor, torch.Tensor):
                tensor.record_stream(here)
