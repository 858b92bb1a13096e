"""What several processes of a run tell each other: where one fails, all of them end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import torch

from covidssl.errors import CovidsslError, EndedElsewhereError, TrainingError
from covidssl.training import STEP_PATIENCE, WAITING_PATIENCE

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_MOST_NUMBERS = 2


class Together:
    """The processes of a run; each of them makes one at the same point.

    They wait for each other in a group of their own, with more patience than in a step: meanwhile
    the first one validates, which may take hours.

    Attributes:
        first: whether this process is the first, or alone.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.first, self._several = fabric.is_global_zero, fabric.world_size > 1
        self._device = fabric.device
        self._group = (
            torch.distributed.new_group(timeout=WAITING_PATIENCE) if self._several else None
        )

    def all_do(self, work: Callable[[], Sequence[int]]) -> list[int]:
        """Let every process do its own work, and end in all of them where it fails in one.

        Args:
            work: gives as many numbers in each process, two at the most.

        Returns:
            The largest of each number.

        Raises:
            Exception: whatever this process's own work has raised.
            EndedElsewhereError: when that of another one has, or when one is gone.
            TrainingError: the same, in the first process.
        """
        if not self._several:
            return list(work())
        try:
            mine = list(work())
        except Exception:
            with suppress(RuntimeError):  # of a peer that is gone; the failure is worth more
                self._largest([1])
            raise
        with self.noticing_who_is_gone():
            failed, *found = self._largest([0, *mine])
        if failed:
            raise self._ended("The run was ended by another of its processes, which says why.")
        return found[: len(mine)]

    @contextmanager
    def noticing_who_is_gone(self) -> Iterator[None]:
        """Say plainly that another process is gone, or has not answered for too long.

        Raises:
            EndedElsewhereError: when it is.
            TrainingError: the same, in the first process.
        """
        try:
            yield
        except RuntimeError as error:
            if not (self._several and _is_of_a_lost_peer(error)):
                raise
            raise self._ended(
                f"Another process of the run is gone, or has not answered in "
                f"{STEP_PATIENCE.total_seconds() / 60:.0f} minutes; what it said last says why. Go "
                f"on from the last checkpoint with --resume."
            ) from error

    def _largest(self, numbers: list[int]) -> list[int]:
        padded = [*numbers, *[0] * (1 + _MOST_NUMBERS - len(numbers))]
        here = torch.tensor(padded, device=self._device)
        torch.distributed.all_reduce(here, torch.distributed.ReduceOp.MAX, self._group)
        largest: list[int] = here.tolist()
        return largest

    def _ended(self, text: str) -> CovidsslError:
        # The code of the first process is the run's.
        return TrainingError(text) if self.first else EndedElsewhereError(text)


def _is_of_a_lost_peer(error: RuntimeError) -> bool:
    # Gloo has no kind of its own for it.
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()
