"""Batches keyed by (seed, step): a resumed run sees what the first would have seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from covidssl.errors import TrainingError
from covidssl.randomness import numpy_generator
from covidssl.training.plan import TrainingPlan

_ORDER_STREAM = 1
B = TypeVar("B")


class StepBatches(Sampler[list[int]]):
    """Indices of every step's batch, keyed by (seed, epoch): no picture twice in an epoch.

    A batch depends on (seed, step) alone, so a resumed run sees what the first would have seen.
    """

    def __init__(self, pictures: int, plan: TrainingPlan, seed: int, start: int) -> None:
        if pictures < 1:
            raise TrainingError("There is no picture to train on.")
        self.pictures, self.plan, self.seed, self.start = pictures, plan, seed, start
        self._epoch, self._permutation = -1, np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return self.plan.steps - self.start

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.plan.steps):
            first = step * self.plan.batch_size
            yield [self._index(place) for place in range(first, first + self.plan.batch_size)]

    def _index(self, place: int) -> int:
        epoch, within = divmod(place, self.pictures)
        return int(self._order(epoch)[within])

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if self._epoch != epoch:
            generator = numpy_generator(self.seed, _ORDER_STREAM, epoch)
            self._epoch, self._permutation = epoch, generator.permutation(self.pictures)
        return self._permutation


def loader(
    pictures: Dataset[B], count: int, plan: TrainingPlan, seed: int, start: int
) -> DataLoader[B]:
    """Batches from step `start` on; pictures must not draw at random themselves."""
    sampler = StepBatches(count, plan, seed, start)
    return DataLoader(
        pictures,
        batch_sampler=sampler,
        num_workers=plan.workers,
        # The default one would be drawn from the global generator.
        generator=torch.Generator().manual_seed(0),
        pin_memory=torch.cuda.is_available(),
    )
