"""Batches keyed by (seed, step): a resumed run sees what the first would have seen."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from covidssl.errors import TrainingError
from covidssl.randomness import numpy_generator
from covidssl.training.plan import TrainingPlan
from covidssl.training.processes import Process
from covidssl.training.stopping import STOPPING

log = logging.getLogger(__name__)

_ORDER_STREAM = 1
B = TypeVar("B")


class StepBatches(Sampler[list[int]]):
    """Indices of every step's batch, keyed by (seed, epoch): no picture twice in an epoch.

    A batch depends on (seed, step) alone, so a resumed run sees what the first would have seen. Of
    several processes each gets its own part of it, and all parts together are the batch of one.

    Raises:
        TrainingError: when there is no picture.
        UsageError: when a batch cannot be dealt evenly to the processes.
    """

    def __init__(
        self,
        pictures: int,
        plan: TrainingPlan,
        seed: int,
        start: int,
        process: Process = Process(),  # noqa: B008 (it cannot be changed)
    ) -> None:
        if pictures < 1:
            raise TrainingError("There is no picture to train on.")
        self.pictures, self.plan, self.seed, self.start = pictures, plan, seed, start
        self.share = process.share(plan.batch_size)
        self._epoch, self._permutation = -1, np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return self.plan.steps - self.start

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.plan.steps):
            first = step * self.plan.batch_size
            yield [self._index(first + place) for place in self.share]

    def _index(self, place: int) -> int:
        epoch, within = divmod(place, self.pictures)
        return int(self._order(epoch)[within])

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if self._epoch != epoch:
            generator = numpy_generator(self.seed, _ORDER_STREAM, epoch)
            self._epoch, self._permutation = epoch, generator.permutation(self.pictures)
        return self._permutation


def loader(
    pictures: Dataset[B],
    count: int,
    plan: TrainingPlan,
    seed: int,
    start: int,
    process: Process = Process(),  # noqa: B008 (it cannot be changed)
) -> DataLoader[B]:
    """This process's part of the batches from step `start` on.

    Pictures must not draw at random themselves.
    """
    if count < plan.batch_size:
        log.warning(
            "%d pictures to train on, and a batch holds %d: a step sees some of them several "
            "times, each time with other draws.",
            count, plan.batch_size,
        )  # fmt: skip
    return DataLoader(
        pictures,
        batch_sampler=StepBatches(count, plan, seed, start, process),
        num_workers=plan.workers,
        # The default one would be drawn from the global generator.
        generator=torch.Generator().manual_seed(0),
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_leave_signals_to_the_parent,
    )


def _leave_signals_to_the_parent(_worker: int) -> None:
    """A signal to the whole group, as from Ctrl-C, must not kill what the last step still needs."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
