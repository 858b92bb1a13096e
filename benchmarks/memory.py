"""Peak memory of a Perlin field above its output, measured in a process of its own.

python -m benchmarks.memory '{"size": [512, 512], "cells": 8, "octaves": 4, ...}'
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

_ROOT = Path(__file__).resolve().parents[1]
_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_extra_mib(**field: Any) -> tuple[float, float]:
    """MiB in use at the peak above the output, and MiB of the output.

    Args:
        **field: `size`, `cells`, `octaves`, `batch`, `backend`, `threads` and whether scales are
            `drawn`.
    """
    command = [sys.executable, "-m", "benchmarks.memory", json.dumps(field)]
    done = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True)
    extra, output = json.loads(done.stdout.splitlines()[-1])
    return float(extra), float(output)


def main(field: Annotated[str, typer.Argument(help="The field, as JSON.")]) -> None:
    """Draw a batch of fields once; write the MiB at the peak above the output, and the output's."""
    from benchmarks.contenders import Work
    from benchmarks.fields import draw
    from benchmarks.timing import use_threads

    wanted = json.loads(field)
    work = Work(tuple(wanted["size"]), wanted["cells"], wanted["octaves"])
    use_threads(wanted["threads"])
    arguments = {name: wanted[name] for name in ("batch", "drawn", "backend")}
    small = Work((16,) * len(work.size), 2, work.octaves)
    draw(small, **arguments)()  # what is loaded and compiled once is no part of a field
    before = start_mib()
    output = draw(work, **arguments)()
    peak = peak_mib()
    mib = output.element_size() * output.numel() / 2**20
    typer.echo(json.dumps([max(0.0, peak - before - mib), mib]))


def start_mib() -> float:
    """MiB in use now; the peak is counted from here where the system can do so."""
    if not _STATUS.is_file():
        return peak_mib()
    # Where it is refused the peak of the imports stays: an extra too large, never too small.
    with suppress(OSError):
        _FORGET.write_text("5")
    return _status("VmRSS")


def peak_mib() -> float:
    """Most MiB ever in use since `start_mib`."""
    if _STATUS.is_file():
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _status(name: str) -> float:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"{_STATUS} says nothing of {name}")


if __name__ == "__main__":
    typer.run(main)
