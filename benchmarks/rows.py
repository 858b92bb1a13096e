"""A row of a benchmark, and the files of rows: what was measured, against what, on what."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import torch

from covidssl.errors import DataError
from covidssl.files import write_json
from covidssl.runs import git_state, package_versions

Device = Literal["cpu", "cuda"]
Bound = Literal["at least", "at most"]

DEVICES: tuple[Device, ...] = ("cpu", "cuda")
RESULTS = Path(__file__).resolve().parent / "results"
_PACKAGES = ("torch", "numpy", "numba", "triton", "monai", "simpleitk", "pydicom", "nibabel")
_PEERS = ("noise", "perlin-numpy", "pyfastnoiselite", "opensimplex")


class Row(NamedTuple):
    """Ours beside one peer in one case.

    Attributes:
        case: what was run, with all that its time depends on.
        unit: of `ours` and `peer`.
        ours: median over the rounds.
        peer: median over the rounds.
        peer_name: whom ours is compared with.
        ratio: median over the rounds of each round's own ratio, not rounded, so that a near miss
            stays one; what it divides is said by `bound` where there is a bar: `at least` is how
            many times better ours is, `at most` how many times the peer ours costs.
        bound: which side of the bar is good.
        bar: what was asked for; None where nothing was.
        met: whether the ratio is on the good side of the bar; None without one.
        device: `cpu` or `cuda`.
    """

    case: str
    unit: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    bound: Bound
    bar: float | None
    met: bool | None
    device: Device


class Bar(NamedTuple):
    """What was asked for: the side that is good, and the number (None for none)."""

    bound: Bound
    value: float | None = None


class Pair(NamedTuple):
    """What both did in every round, in one unit; `more_is_better` for rates."""

    ours: Sequence[float]
    peer: Sequence[float]
    more_is_better: bool = False


def row(case: str, unit: str, pair: Pair, peer_name: str, bar: Bar, device: Device = "cpu") -> Row:
    """The row of two contenders that were measured in the same rounds."""
    # How many times better (at least), or how many times the cost (at most).
    ours_on_top = pair.more_is_better == (bar.bound == "at least")
    top, bottom = (pair.ours, pair.peer) if ours_on_top else (pair.peer, pair.ours)
    ratio = median(a / b for a, b in zip(top, bottom, strict=True))
    ours, peer = rounded(median(pair.ours)), rounded(median(pair.peer))
    met = is_met(ratio, bar.bound, bar.value)
    return Row(case, unit, ours, peer, peer_name, ratio, bar.bound, bar.value, met, device)


def is_met(ratio: float, bound: Bound, bar: float | None) -> bool | None:
    """Whether a ratio is on the good side of its bar; None without one."""
    if bar is None:
        return None
    return ratio >= bar if bound == "at least" else ratio <= bar


def rounded(number: float) -> float:
    """Four digits: more would be noise."""
    return float(f"{number:.4g}")


def missed(rows: Iterable[Row]) -> list[Row]:
    """The rows whose bar was not met."""
    return [row for row in rows if row.met is False]


class Results(NamedTuple):
    """All rows of a subject, and for each device what it was and when it was measured."""

    measured: dict[Device, dict[str, Any]]
    rows: list[Row]


def read_results(path: Path) -> Results:
    """The results in a file; none where there is no file.

    Raises:
        DataError: when the file holds something else.
    """
    if not path.is_file():
        return Results({}, [])
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Results(content["measured"], [Row(**row) for row in content["rows"]])
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path}: not the results of a benchmark ({error}); expected `measured` and `rows`. "
            f"Remove it and measure again."
        ) from error


def replace_rows(path: Path, device: Device, rows: Sequence[Row], threads: Sequence[int]) -> None:
    """Put the rows of one device into a file, in place of those that it had; others stay."""
    strangers = {row.device for row in rows} - {device}
    if strangers:
        raise ValueError(f"rows of {sorted(strangers)} among those of {device}")
    before = read_results(path)
    measured: Mapping[Device, dict[str, Any]] = {**before.measured, device: machine(device)}
    measured[device]["threads"] = list(threads)
    kept = [row for row in before.rows if row.device != device]
    ordered = sorted([*kept, *rows], key=lambda row: DEVICES.index(row.device))
    write_json(
        path,
        {
            "measured": {name: measured[name] for name in DEVICES if name in measured},
            "rows": [row._asdict() for row in ordered],
        },
    )


def machine(device: Device) -> dict[str, Any]:
    """When, at which commit, with which versions and on which processor; no name of a host."""
    git = git_state()
    commit = None
    if git:
        commit = git["commit"][:8] + (" and changes" if git["dirty"] else "")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "python": platform.python_version(),
        "packages": {
            name: version
            for name, version in package_versions((*_PACKAGES, *_PEERS)).items()
            if version
        },
        "processor": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "cores": os.cpu_count(),
    }


def _processor() -> str:
    """The model of the CPU."""
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
