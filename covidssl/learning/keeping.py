"""The checkpoints of a run: when they are written, by whom, and how a run begins with one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from covidssl.checkpoint import drop_unfinished, load_checkpoint, save_checkpoint
from covidssl.training import TrainingPlan, TrainingState

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)

Notes = dict[str, float]


class Keeping:
    """The checkpoints of a run, which the first process writes and all read.

    Args:
        out: the run folder.
        fabric: its processes.
        state: what is kept; a checkpoint is loaded into it.
        plan: how many are kept, and how many minutes lie between them at most.
        every: steps between them.
    """

    def __init__(
        self, out: Path, fabric: Fabric, state: TrainingState, plan: TrainingPlan, every: int
    ) -> None:
        self._out, self._fabric, self._state = out, fabric, state
        self._plan, self._every = plan, every
        self._folder = out / "checkpoints"
        self._mine = fabric.is_global_zero
        self._saved = time.monotonic()

    def begin(self, first: Callable[[Notes], None]) -> Notes:
        """Load the newest checkpoint, or do what comes before the first step; gives the notes."""
        found: Notes | None = None
        if self._mine:
            drop_unfinished(self._folder)
            found = load_checkpoint(self._folder, self._state)
            if found is None:
                found = {}
                first(found)
            else:
                log.info("%s: goes on after step %d.", self._out.name, self._state.step)
        # The first one has put aside what cannot be read, so all take the same one.
        self._fabric.barrier()
        if not self._mine:
            found = load_checkpoint(self._folder, self._state)
        return found or {}

    def is_due(self) -> bool:
        """Whether so many steps were taken, or so much time has gone by."""
        step = self._state.step
        late = time.monotonic() - self._saved >= 60 * self._plan.checkpoint_minutes
        return late or step % self._every == 0 or step == self._plan.steps

    def save(self, notes: Notes) -> None:
        """Write a checkpoint."""
        if self._mine:
            save_checkpoint(self._folder, self._state, notes, self._plan.keep_checkpoints)
        self._saved = time.monotonic()
