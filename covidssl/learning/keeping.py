"""The checkpoints of a run: when they are written, by whom, and how a run begins with one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from covidssl.checkpoint import drop_unfinished, load_checkpoint, load_step, save_checkpoint
from covidssl.learning.together import Together
from covidssl.training import TrainingPlan, TrainingState

log = logging.getLogger(__name__)

Notes = dict[str, float]


class Keeping:
    """The checkpoints of a run, which the first process writes and all read.

    Args:
        out: the run folder.
        together: its processes.
        state: what is kept; a checkpoint is loaded into it.
        plan: how many are kept, and how many minutes lie between them at most.
        every: steps between them.
    """

    def __init__(
        self, out: Path, together: Together, state: TrainingState, plan: TrainingPlan, every: int
    ) -> None:
        self._out, self._together, self._state = out, together, state
        self._plan, self._every = plan, every
        self._folder = out / "checkpoints"
        self._saved = time.monotonic()
        self._saved_step = -1

    def begin(self, first: Callable[[Notes], None]) -> Notes:
        """Load the newest checkpoint, or do what comes before the first step; gives the notes.

        Raises:
            TrainingError: when there are checkpoints and none can be gone on with; in a process
                that does not see the one that the first process goes on from.
        """
        notes: Notes = {}

        def find() -> list[int]:
            if not self._together.first:
                return [0]
            drop_unfinished(self._folder)
            found = load_checkpoint(self._folder, self._state)
            if found is None:
                first(notes)
            else:
                notes.update(found)
                log.info("%s: goes on after step %d.", self._out.name, self._state.step)
            return [self._state.step]

        def follow() -> list[int]:
            if step and not self._together.first:
                notes.update(load_step(self._folder, self._state, step))
            return []

        (step,) = self._together.all_do(find)
        self._together.all_do(follow)
        return notes

    def is_due(self) -> bool:
        """Whether so many steps were taken, or so much time has gone by."""
        step = self._state.step
        late = time.monotonic() - self._saved >= 60 * self._plan.checkpoint_minutes
        return late or step % self._every == 0 or step == self._plan.steps

    def save(self, notes: Notes) -> None:
        """Write a checkpoint; to be called in the first process."""
        save_checkpoint(self._folder, self._state, notes, self._plan.keep_checkpoints)
        self._saved, self._saved_step = time.monotonic(), self._state.step

    def see_that_it_is_saved(self, notes: Notes) -> None:
        """Write a checkpoint where there is none of this step yet; none ends before that."""

        def save() -> list[int]:
            if self._together.first and self._saved_step != self._state.step:
                self.save(notes)
            return []

        self._together.all_do(save)
