"""The Perlin field beside every other way to one in Python, and beside writing its bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.contenders import PEERS, REFERENCE, Work, contenders, missing
from benchmarks.fields import backends, draw
from benchmarks.memory import peak_extra_mib
from benchmarks.rows import Bar, Device, Pair, Row, row
from benchmarks.timing import Contender, interleaved, on_device, use_threads
from covidssl.errors import UsageError
from covidssl.perlin import Backend
from covidssl.progress import track

Seconds = Mapping[str, Sequence[float]]

KEPT, FRESH = "bare write, memory kept", "bare write, fresh memory"
_MEMORY_BAR = 3.0
_BANDWIDTH_BAR = 0.5
# One lattice a batch, and scale and offset drawn for every field of it.
_BARS = {
    False: {REFERENCE: 250.0, "peers": 35.0, FRESH: 2.5},
    True: {REFERENCE: 150.0, "peers": 18.0, FRESH: 5.0},
}


class Plan(NamedTuple):
    """What is measured.

    Attributes:
        scenes: sizes in pixels and their octaves.
        lattices: cells of the first octave along every axis.
        batches: fields a call on a CPU.
        threads: numbers of threads on a CPU.
        cuda_batches: fields a call on a GPU, one for each scene.
        barred: the batch and the number of threads that the bars are for; None for no bars.
        rounds: measurements of every contender.
        least_s: shortest time of one measurement in seconds.
        fine: fields of which memory alone is measured: few pixels a cell.
    """

    scenes: tuple[tuple[tuple[int, ...], int], ...] = (((512, 512), 4), ((128, 128, 128), 3))
    lattices: tuple[int, ...] = (4, 8)
    batches: tuple[int, ...] = (1, 32)
    threads: tuple[int, ...] = (1, 2)
    cuda_batches: tuple[int, ...] = (256, 32)
    barred: tuple[int, int] | None = (32, 1)
    rounds: int = 7
    least_s: float = 0.05
    fine: tuple[Work, ...] = (Work((512, 512), 128, 1), Work((128, 128, 128), 32, 1))

    def works(self) -> list[Work]:
        """Every field of the plan."""
        return [
            Work(size, cells, octaves) for size, octaves in self.scenes for cells in self.lattices
        ]


FULL = Plan()
QUICK = Plan(
    scenes=(((32, 32), 2), ((16, 16, 16), 2)), lattices=(2,), batches=(1, 2), threads=(1,),
    cuda_batches=(2, 2), barred=None, rounds=2, least_s=0.0,
)  # fmt: skip


class Ours(NamedTuple):
    """One way in which our field is drawn."""

    backend: Backend
    batch: int
    drawn: bool

    @property
    def name(self) -> str:
        """As it stands in a case."""
        scale = "own scales" if self.drawn else "one lattice"
        return f"batch {self.batch}, {scale}, {self.backend}"


def run(device: Device, quick: bool) -> tuple[list[Row], tuple[int, ...]]:
    """All rows of a device, and the numbers of threads that were used.

    Raises:
        UsageError: when a peer is not installed; a quick run does without.
    """
    plan = QUICK if quick else FULL
    absent = missing()
    if device == "cuda":
        return list(_on_cuda(plan)), (torch.get_num_threads(),)
    if absent and not quick:
        raise UsageError(
            f"Not installed: {', '.join(absent)}. A bar is met only beside every peer: "
            f"pip install -e '.[bench]'."
        )
    works = track(plan.works(), "Perlin fields", len(plan.works()))
    rows = [found for work in works for found in _on_cpu(work, plan)]
    return rows + list(_memory(plan)), plan.threads


def _on_cpu(work: Work, plan: Plan) -> Iterator[Row]:
    """Rows of a field with every number of threads: ours in every way, beside all the others."""
    ways = [
        Ours(backend, batch, drawn)
        for backend in backends("cpu")
        for batch in plan.batches
        for drawn in (False, True)
    ]
    for threads in plan.threads:
        with_threads = [
            Contender(way.name, draw(work, way.batch, way.drawn, way.backend), way.batch)
            for way in ways
        ]
        writes = [one for batch in plan.batches for one in _writes(work, batch)]
        before = use_threads(threads)
        try:
            seconds = interleaved(
                [*with_threads, *contenders(work), *writes], plan.rounds, plan.least_s
            )
        finally:
            use_threads(before)
        for way in ways:
            yield from rows_of(way, work, threads, seconds, plan)


def rows_of(way: Ours, work: Work, threads: int, seconds: Seconds, plan: Plan) -> Iterator[Row]:
    """Our field, drawn one way, beside each of the others; all times are seconds a field."""
    barred = plan.barred == (way.batch, threads) and way.backend == backends("cpu")[0]
    bars = _BARS[way.drawn] if barred else {}
    case = case_of(work, way, threads)
    ours = _ms(seconds[way.name])
    at_hand = [name for name in (REFERENCE, *PEERS) if name in seconds]
    fastest = min(
        (name for name in at_hand if name != REFERENCE),
        key=lambda name: sorted(seconds[name])[len(seconds[name]) // 2],
    )
    for name in at_hand:
        asked = bars.get("peers") if name == fastest else bars.get(name)
        peer = _ms(seconds[name])
        yield row(case, "ms a field", Pair(ours, peer), name, Bar("at least", asked))
    for name in (KEPT, FRESH):
        peer = _ms(seconds[f"{name} {way.batch}"])
        yield row(case, "ms a field", Pair(ours, peer), name, Bar("at most", bars.get(name)))


def title(work: Work) -> str:
    """A field in words: `2D 512 x 512, 4 octaves, 8 x 8 cells`."""
    size = " x ".join(map(str, work.size))
    cells = " x ".join([str(work.cells)] * len(work.size))
    return f"{len(work.size)}D {size}, {work.octaves} octaves, {cells} cells"


def case_of(work: Work, way: Ours, threads: int) -> str:
    """The case of a row of a CPU."""
    return f"{title(work)}, {way.name}, {threads} thread{'s' * (threads > 1)}"


def _ms(seconds: Sequence[float]) -> list[float]:
    return [1000 * number for number in seconds]


def _writes(work: Work, batch: int, device: Device = "cpu") -> list[Contender]:
    """The bytes of a batch, always the same ones, or as our fields come: asked for by the call."""
    shape, half = (batch, 1, *work.size), np.float32(0.5)
    kept = torch.empty(shape, device=device)
    return [
        Contender(f"{KEPT} {batch}", lambda: kept.fill_(0.5), batch),
        Contender(f"{FRESH} {batch}", lambda: np.full(shape, half), batch),
    ]


def _memory(plan: Plan) -> Iterator[Row]:
    """Peak memory above the output, of every batch on every number of threads, fine lattices too.

    What is held beside the output must not grow with the lattice, nor weigh more for one field.
    """
    bar = _MEMORY_BAR if plan.barred else None
    works = [*plan.works(), *plan.fine] if plan.barred else plan.works()[:1]
    ways = [
        Ours(backend, batch, drawn)
        for backend in backends("cpu")
        for batch in plan.batches
        for drawn in (False, True)
    ]
    for work, threads, way in product(works, plan.threads, ways):
        extra, output = peak_extra_mib(**work._asdict(), **way._asdict(), threads=threads)
        case = f"{case_of(work, way, threads)}, peak above the output"
        yield row(case, "MiB", Pair([extra], [output]), "the output", Bar("at most", bar))


def _on_cuda(plan: Plan) -> Iterator[Row]:
    """Rows of a GPU: the rate at which a field is written, beside the rate of a bare write.

    The bar is for what the device does; a row more has the whole call, the CPU's share included.
    """
    for work in plan.works():
        sizes = [size for size, _ in plan.scenes]
        batch = plan.cuda_batches[sizes.index(work.size)]
        ways = [Ours(name, batch, drawn) for name in backends("cuda") for drawn in (False, True)]
        calls = [
            Contender(way.name, draw(work, batch, way.drawn, way.backend, "cuda"), batch)
            for way in ways
        ]
        rivals = [*calls, _writes(work, batch, "cuda")[0]]
        device = on_device(rivals, plan.rounds)
        whole = interleaved(rivals, plan.rounds, plan.least_s, wait=torch.cuda.synchronize)
        for way, call in zip(ways, calls, strict=True):
            fused = plan.barred is not None and way.backend == backends("cuda")[0]
            case = f"{title(work)}, {way.name}"
            bar = Bar("at least", _BANDWIDTH_BAR if fused else None)
            yield _rate(case, work, (device[way.name], device[rivals[-1].name]), bar)
            pair = (whole[way.name], whole[rivals[-1].name])
            yield _rate(f"{case}, the whole call", work, pair, Bar("at least", None))
            memory = Bar("at most", _MEMORY_BAR if fused else None)
            yield _cuda_memory(case, call.call, work, memory)


def _rate(case: str, work: Work, seconds: tuple[Sequence[float], Sequence[float]], bar: Bar) -> Row:
    gigabytes = 4 * prod(work.size) / 1e9
    ours, write = ([gigabytes / number for number in found] for found in seconds)
    return row(case, "GB/s", Pair(ours, write, more_is_better=True), KEPT, bar, "cuda")


def _cuda_memory(case: str, call: Callable[[], object], work: Work, bar: Bar) -> Row:
    """Peak of the allocator above the output."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    field = call()
    torch.cuda.synchronize()
    if not isinstance(field, torch.Tensor):
        raise TypeError(f"{title(work)}: expected a tensor")
    output = field.element_size() * field.numel()
    extra = torch.cuda.max_memory_allocated() - before - output
    pair = Pair([max(extra, 0) / 2**20], [output / 2**20])
    return row(f"{case}, peak above the output", "MiB", pair, "the output", bar, "cuda")
