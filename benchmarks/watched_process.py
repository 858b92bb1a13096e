"""Memory of a process and its children while it works, by how much of its work is done."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

_EVERY_S = 0.25
_RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB", re.MULTILINE)
_WARM = 0.1  # of the work, in which libraries are loaded and processes begin


class Watched(NamedTuple):
    """How a process went.

    Attributes:
        code: its exit code.
        errors: what it wrote to its standard error.
        seconds: that it took.
        first, second: MiB at the median of each half of the work; 0 where nothing was seen.
    """

    code: int
    errors: str
    seconds: float
    first: float
    second: float


def watch(
    command: Sequence[str], folder: Path, environment: dict[str, str], done: Callable[[], float]
) -> Watched:
    """Run a command and look at its memory, the children's included.

    Args:
        command: to run.
        folder: to run it in.
        environment: of it.
        done: which share of the work is done now.
    """
    halves: tuple[list[float], list[float]] = ([], [])
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    while True:
        try:
            _, errors = process.communicate(timeout=_EVERY_S)
            break
        except subprocess.TimeoutExpired:
            share = done()
            if _WARM <= share < 1:
                halves[share >= 0.5].append(_tree_mib(process.pid))
    middle = [median(half) if half else 0.0 for half in halves]
    return Watched(process.returncode, errors, time.monotonic() - began, middle[0], middle[1])


def _tree_mib(pid: int) -> float:
    """MiB of a process and all that it has begun; 0 where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = " ".join((task / "children").read_text(encoding="utf-8") for task in tasks)
    except OSError:  # it has just ended
        return 0.0
    found = _RESIDENT.search(status)
    own = int(found[1]) / 1024 if found else 0.0
    return own + sum(_tree_mib(int(child)) for child in children.split())
