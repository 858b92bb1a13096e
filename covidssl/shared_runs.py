"""A run of several processes: the first one writes its folder, the others follow it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pydantic import BaseModel

from covidssl.errors import EndedElsewhereError
from covidssl.runs import IfExists, RunFolder, look_at_run

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Opened(NamedTuple):
    """What the first process tells the others of a run folder that it has opened."""

    done: bool
    resumed: bool
    data_before: dict[str, str]


class FollowedRun(RunFolder):
    """The same run in a process that is not the first: data are compared, nothing is written."""

    writes = False

    def __init__(self, path: Path, opened: Opened) -> None:
        self.path = path
        self.done, self.resumed = opened.done, opened.resumed
        self.data_before = opened.data_before
        self.record: dict[str, Any] = {"data": dict(opened.data_before), "summary": {}}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing was opened."""

    def _write_record(self) -> None:
        """The first process writes it."""


def rehearsed_run(path: Path, verb: str, config: BaseModel, if_exists: IfExists) -> RunFolder:
    """The run that `open_run` would open; nothing is written.

    Raises:
        UsageError: for a folder that cannot be had.
    """
    found = look_at_run(path, verb, config, if_exists)
    return FollowedRun(path, Opened(found.done, found.resumed, found.before.get("data", {})))


def open_run(
    fabric: Fabric, path: Path, verb: str, config: BaseModel, if_exists: IfExists
) -> RunFolder:
    """The run folder, which the first process opens and writes; see `RunFolder`.

    Raises:
        UsageError: for a folder that cannot be had; in the first process.
        EndedElsewhereError: in the others, when the first one was refused.
    """
    if fabric.is_global_zero:
        try:
            run = RunFolder(path, verb, config, if_exists)
        except Exception:
            fabric.broadcast(None)
            raise
        fabric.broadcast(Opened(run.done, run.resumed, run.data_before))
        return run
    opened: Opened | None = fabric.broadcast(None)
    if opened is None:
        raise EndedElsewhereError(f"{path}: refused by the first process, which says why.")
    return FollowedRun(path, opened)
