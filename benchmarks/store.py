"""The store: random slices and patches by two processes, and what many scans cost."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from benchmarks.rows import Bar, Device, Pair, Row, row
from benchmarks.stores import Reader, Size, write_as_others, write_store
from benchmarks.timing import use_threads
from covidssl.store import Store

_PROCESSES = 2
_SLICES_A_SECOND = 1500
_PATCHES_A_SECOND = 40


class _Plan(NamedTuple):
    """How much is measured."""

    large: Size
    few: Size
    many: Size
    rounds: int
    slices: int
    patches: int


_FULL = _Plan(
    Size(4, 4, 128, 512), Size(100, 8, 4, 512), Size(10_000, 8, 4, 512), 15, 300, 12
)  # fmt: skip
_QUICK = _Plan(Size(2, 2, 6, 32), Size(3, 2, 2, 32), Size(9, 2, 2, 32), 2, 4, 2)


class _Readers:
    """Processes of one thread each that read at the same time, every one in its own order."""

    def __init__(self, folder: Path, size: Size) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for seed in range(_PROCESSES):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, folder, size, seed), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def rate(self, what: str, times: int) -> float:
        """Reads a second of all together."""
        began = time.perf_counter()
        for pipe in self._pipes:
            pipe.send((what, times))
        for pipe in self._pipes:
            pipe.recv()
        return len(self._pipes) * times / (time.perf_counter() - began)

    def close(self) -> None:
        """End the processes."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send(None)
            process.join()


def _serve(pipe: Connection, folder: Path, size: Size, seed: int) -> None:
    use_threads(1)
    reader = Reader(folder, size, seed)
    pipe.send("ready")
    while (asked := pipe.recv()) is not None:
        read = getattr(reader, asked[0])
        for _ in range(asked[1]):
            read()
        pipe.send("done")


def run(device: Device, quick: bool) -> tuple[list[Row], tuple[int, ...]]:
    """All rows of a device (a GPU has none), and the number of threads of a process."""
    if device == "cuda":
        return [], (1,)
    plan = _QUICK if quick else _FULL
    with tempfile.TemporaryDirectory() as folder:
        rows = [*_reads(Path(folder) / "large", plan, quick)]
        rows += _numbers_of_scans(Path(folder), plan)
    return rows, (1,)


def _reads(folder: Path, plan: _Plan, quick: bool) -> list[Row]:
    size = plan.large
    write_store(folder / "store", size)
    write_as_others(folder / "others", size)
    of_slices = ["ours", "zarr", "files", "safetensors"]
    of_patches = ["ours", "zarr", "files"]
    slices = _rates(folder, size, "slice", of_slices, plan.rounds, plan.slices)
    patches = _rates(folder, size, "patch", of_patches, plan.rounds, plan.patches)
    edge = min(96, size.slices, size.pixels)
    case = f"random slices {size.pixels} x {size.pixels} int16 with mask, {_PROCESSES} processes"
    cube = f"random patches {edge} x {edge} x {edge} of {size.pixels} x {size.pixels} slices"
    names = {"zarr": "zarr-python", "files": "a .npy a slice", "safetensors": "safetensors a scan"}
    rows = [_asked(case, "slices/s", slices["ours"], _SLICES_A_SECOND, quick)]
    rows += [
        _against(case, "slices/s", slices["ours"], slices[which], names[which])
        for which in of_slices[1:]
    ]
    names["files"] = "mapped .npy, no mask"
    cube = f"{cube} with mask, {_PROCESSES} processes"
    rows += [_asked(cube, "patches/s", patches["ours"], _PATCHES_A_SECOND, quick)]
    rows += [
        _against(cube, "patches/s", patches["ours"], patches[which], names[which])
        for which in of_patches[1:]
    ]
    return rows


def _rates(
    folder: Path, size: Size, what: str, contenders: Sequence[str], rounds: int, times: int
) -> dict[str, list[float]]:
    """Reads a second of every contender in every round, every other round backwards."""
    readers = _Readers(folder, size)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    try:
        for turn in range(-1, rounds):
            for name in contenders if turn % 2 else reversed(contenders):
                rate = readers.rate(f"{what}_of_{name}", times)
                if turn >= 0:  # the round before it fills the caches
                    rates[name].append(rate)
    finally:
        readers.close()
    return rates


def _numbers_of_scans(folder: Path, plan: _Plan) -> list[Row]:
    """What many scans cost beside few: opening, memory, and random slices over all of them."""
    both = {"few": plan.few, "many": plan.many}
    for name, size in both.items():
        write_store(folder / name / "store", size)
    opening: dict[str, list[float]] = {name: [] for name in both}
    rates: dict[str, list[float]] = {name: [] for name in both}
    readers = {name: _Readers(folder / name, size) for name, size in both.items()}
    try:
        for turn in range(plan.rounds):
            for name in both if turn % 2 else reversed(both):
                opening[name].append(_opening_ms(folder / name / "store"))
                rates[name].append(readers[name].rate("slice_of_ours", plan.slices))
    finally:
        for pair in readers.values():
            pair.close()
    memory = {name: [_memory_mib(folder / name / "store")] for name in both}
    few, many = f"{plan.few.scans} scans", f"{plan.many.scans} scans"
    at_least, at_most = Bar("at least"), Bar("at most")
    reading = Pair(rates["many"], rates["few"], more_is_better=True)
    return [
        row(
            f"random slices over {many}, {_PROCESSES} processes", "slices/s", reading, few, at_least
        ),
        row(f"opening {many}", "ms", Pair(opening["many"], opening["few"]), few, at_most),
        row(f"memory of {many}, open", "MiB", Pair(memory["many"], memory["few"]), few, at_most),
    ]


def _opening_ms(folder: Path) -> float:
    began = time.perf_counter()
    Store.open(folder)
    return 1e3 * (time.perf_counter() - began)


def _memory_mib(folder: Path) -> float:
    """What opening asks for and a few reads keep, without what is mapped."""
    tracemalloc.start()
    try:
        store = Store.open(folder)
        for stored in store.slices[:: max(1, len(store.slices) // 50)]:
            store.read(stored)
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def _asked(case: str, unit: str, ours: list[float], least: float, quick: bool) -> Row:
    pair = Pair(ours, [least] * len(ours), more_is_better=True)
    return row(case, unit, pair, "asked for", Bar("at least", None if quick else 1.0))


def _against(case: str, unit: str, ours: list[float], peer: list[float], name: str) -> Row:
    return row(case, unit, Pair(ours, peer, more_is_better=True), name, Bar("at least"))
