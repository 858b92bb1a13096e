"""Reading scans: time and memory of `read_scan`, all its checks included, against bare readers.

python -m benchmarks.readers FOLDER ours      one read in this process: MiB at its peak
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import nibabel
import numpy as np
import SimpleITK as sitk
import typer

from benchmarks.memory import peak_mib, start_mib
from benchmarks.rows import Bar, Device, Pair, Row, row
from benchmarks.scans import chest, write_nifti, write_series
from benchmarks.timing import Contender, interleaved, use_threads
from covidssl.io import find_scans, read_scan

_ROOT = Path(__file__).resolve().parents[1]
_SITK = "SimpleITK, ReadImage"
_VOLUME = "the int16 volume"
_MOST_TIME = 1.2
_MOST_MEMORY = 2.5
_WARM_SLICES = 4


class Plan(NamedTuple):
    """Sizes: edge in pixels, slices of each scan, rounds; bars only where they were set for."""

    edge: int
    series: int
    compressed: int
    nifti: int
    rounds: int
    barred: bool


FULL = Plan(512, 300, 60, 100, 9, barred=True)
QUICK = Plan(64, 6, 4, 4, 2, barred=False)


def run(device: Device, quick: bool) -> tuple[list[Row], tuple[int, ...]]:
    """All rows; readers use the CPU alone, so there are none for another device."""
    if device != "cpu":
        return [], (1,)
    plan = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(prefix="covidssl-readers-") as made, _one_thread():
        folder = Path(made)
        hu = chest(plan.series, plan.edge)
        write_series(folder / "series", hu)
        write_series(folder / "warm", hu[:_WARM_SLICES])
        write_series(folder / "packed", hu[: plan.compressed], compressed=True)
        write_nifti(folder / "scan.nii.gz", hu[: plan.nifti])
        del hu
        rows = [*_times(folder, plan), *_memory(folder, plan)]
    return rows, (1,)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    torch_threads = use_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
        use_threads(torch_threads)


def _times(folder: Path, plan: Plan) -> Iterator[Row]:
    size = f"{plan.edge} x {plan.edge}"
    series, packed = f"DICOM, {size} x {plan.series}", f"JPEG-LS, {size} x {plan.compressed}"
    bar = Bar("at most", _MOST_TIME if plan.barred else None)
    none = Bar("at most")
    cases: list[tuple[str, Callable[[], object], dict[str, Callable[[], object]], Bar]] = [
        (f"{series}: read", _ours(folder / "series"), {_SITK: _bare(folder / "series")}, bar),
        (f"{series}: found and read", lambda: _found(folder / "series"),
         {_SITK: _bare(folder / "series")}, none),
        (f"{packed}: read", _ours(folder / "packed"), {_SITK: _bare(folder / "packed")}, none),
        (f".nii.gz, {size} x {plan.nifti}: read", _ours(folder / "scan.nii.gz"),
         {_SITK: lambda: sitk.ReadImage(str(folder / "scan.nii.gz")),
          "nibabel, get_fdata": lambda: _fdata(folder / "scan.nii.gz")}, none),
    ]  # fmt: skip
    for name, ours, peers, limit in cases:
        contenders = [Contender("ours", ours), *(Contender(*peer) for peer in peers.items())]
        seconds = interleaved(contenders, plan.rounds, least_s=0.0)
        for peer in peers:
            yield row(name, "s", Pair(seconds["ours"], seconds[peer]), peer, limit)


def _ours(path: Path) -> Callable[[], object]:
    (scan,) = find_scans([path]).scans
    return lambda: read_scan(scan)


def _found(path: Path) -> object:
    (scan,) = find_scans([path]).scans
    return read_scan(scan)


def _bare(folder: Path) -> Callable[[], object]:
    names = [str(path) for path in sorted(folder.iterdir())]
    return lambda: sitk.ReadImage(names)


def _fdata(path: Path) -> object:
    image: Any = nibabel.load(path)
    return image.get_fdata(dtype=np.float32)


def _memory(folder: Path, plan: Plan) -> Iterator[Row]:
    volume = plan.series * plan.edge**2 * 2 / 2**20
    bar = Bar("at most", _MOST_MEMORY if plan.barred else None)
    name = f"DICOM, {plan.edge} x {plan.edge} x {plan.series}: most memory while reading"
    ours, bare = (_peak(folder, which) for which in ("ours", "simpleitk"))
    yield row(name, "MiB", Pair([ours], [volume]), _VOLUME, bar)
    yield row(name, "MiB", Pair([ours], [bare]), _SITK, Bar("at most"))


def _peak(folder: Path, which: str) -> float:
    command = [sys.executable, "-m", "benchmarks.readers", str(folder), which]
    done = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def main(
    folder: Annotated[Path, typer.Argument(help="Holds the folders `series` and `warm`.")],
    which: Annotated[str, typer.Argument(help="`ours` or `simpleitk`.")],
) -> None:
    """Read a series once; write how many MiB were in use at the peak, the result included."""
    make: Callable[[Path], Callable[[], object]] = {"ours": _ours, "simpleitk": _bare}[which]
    with _one_thread():
        make(folder / "warm")()  # what is loaded once is no part of a scan
        read: Sequence[Callable[[], object]] = [make(folder / "series")]
        before = start_mib()
        kept = read[0]()
        peak = peak_mib()
    del kept
    typer.echo(json.dumps(max(0.0, peak - before)))


if __name__ == "__main__":
    typer.run(main)
