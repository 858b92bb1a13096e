"""What the loop asks of a task: examples of a step, and their loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import nn

Examples = Any  # a NamedTuple of tensors, each with the pictures along its first axis
Rows = TypeVar("Rows", bound=tuple[torch.Tensor, ...])
B_contra = TypeVar("B_contra", contravariant=True)


class Share(NamedTuple):
    """The part of a step's batch that is here; with one process, all of it.

    Draws are made for the first `drawn` pictures of the whole batch, by (seed, step), and those of
    `rows` are taken: so the same picture gets the same draw on any number of processes.

    Attributes:
        step: number of the step, from 0.
        first: place in the whole batch of the first picture that is here.
        pictures: that are here.
    """

    step: int
    first: int
    pictures: int

    @property
    def drawn(self) -> int:
        """For how many pictures draws are made."""
        return self.first + self.pictures

    def rows(self, draws: Rows) -> Rows:
        """The draws of the pictures that are here, from a NamedTuple of tensors."""
        return type(draws)(*(values[self.first : self.drawn] for values in draws))


class Losses(NamedTuple):
    """The loss that is minimised, a mean over pictures, and the parts worth writing down."""

    total: torch.Tensor
    parts: Mapping[str, torch.Tensor]


class Task(Protocol[B_contra]):
    """What is learnt: the pretext, or the diagnosis; `parts` names the parts of its loss."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of the loss."""

    def examples(self, batch: B_contra, share: Share) -> Examples:
        """What the network learns from, on the batch's device; draws are keyed by its step."""

    def loss(self, network: nn.Module, examples: Examples) -> Losses:
        """The loss, a mean over the pictures of `examples`, so that a batch may come in parts."""
