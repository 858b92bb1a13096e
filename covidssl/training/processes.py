"""Several processes that train one network: who has which pictures, and what they agree on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from covidssl.errors import UsageError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Process(NamedTuple):
    """One of the processes that train a network together; alone by default.

    Attributes:
        place: from 0.
        of: how many there are.
    """

    place: int = 0
    of: int = 1

    def share(self, pictures: int) -> range:
        """Places in a step's whole batch of the pictures that are this process's.

        Raises:
            UsageError: when the batch cannot be dealt evenly; the mean over processes would then
                not be the mean over pictures.
        """
        each, left = divmod(pictures, self.of)
        if left:
            near = max(each, 1) * self.of
            raise UsageError(
                f"training.batch_size {pictures} cannot be dealt evenly to {self.of} processes: "
                f"--set training.batch_size={near}, or give another number of --devices."
            )
        return range(self.place * each, (self.place + 1) * each)


def first_process() -> bool:
    """Whether this process is alone, or the first of several that have found each other."""
    distributed = torch.distributed
    started = distributed.is_available() and distributed.is_initialized()
    return not started or distributed.get_rank() == 0


def started_by_first() -> bool:
    """Whether the first process has started this one, by running its command again."""
    return int(os.environ.get("LOCAL_RANK", 0)) > 0


def process_of(fabric: Fabric) -> Process:
    """Which process this one is."""
    return Process(fabric.global_rank, fabric.world_size)


def mean_over_processes(fabric: Fabric, values: Sequence[float]) -> list[float]:
    """The mean of each value over all processes; every process gets the same."""
    if fabric.world_size == 1:
        return list(values)
    here = torch.tensor(values, dtype=torch.float64, device=fabric.device)
    mean: list[float] = fabric.all_reduce(here, reduce_op="mean").tolist()  # type: ignore[union-attr]
    return mean
