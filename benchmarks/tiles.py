"""Which tile suits a GPU for the fused Perlin kernel: `python -m benchmarks.tiles`, on one.

Tries tiles of planes x lines x columns and numbers of warps, checks each against the plain product,
and prints the share of a bare write that it reaches. The winners belong into
`covidssl.perlin.fused`.
"""

from __future__ import annotations

from itertools import product as combinations
from statistics import median

import torch
from rich.console import Console

from benchmarks.timing import Contender, on_device
from covidssl.perlin import Field, fused, product
from covidssl.perlin.lattice import octaves_of

_ROUNDS = 5
_REGISTERS = 256  # numbers a thread can hold; tiles that need more spill
_CASES = (
    ((512, 512), 256, 4, 4), ((512, 512), 256, 4, 8),
    ((128, 128, 128), 32, 3, 4), ((128, 128, 128), 32, 3, 8),
)  # fmt: skip
_COLUMNS = ((32, 1), (64, 1), (128, 1), (128, 2), (256, 1), (256, 2), (512, 4))
_LINES = {
    2: [(1, lines) for lines in (8, 16, 32)],
    3: [(4, 8), (8, 8), (4, 16), (8, 16), (16, 4), (8, 4)],
}
_NAMES = {2: "_FLAT_TILE", 3: "_DEEP_TILE"}


def main() -> None:
    """Print the best tiles of every case."""
    if not fused.at_hand():
        raise SystemExit("This needs a CUDA device and Triton.")
    console = Console()
    for size, batch, octaves, cells in _CASES:
        bare, found = _sweep(size, batch, octaves, cells)
        console.print(f"{size}, {cells} cells: a bare write takes {1000 * bare:.3f} ms")
        for seconds, tile in sorted(found)[:6]:
            console.print(
                f"  {bare / seconds:.0%} of it with (planes, lines, columns, warps) {tile}"
            )


def _sweep(
    size: tuple[int, ...], batch: int, octaves: int, cells: int
) -> tuple[float, list[tuple[float, tuple[int, ...]]]]:
    """Seconds of a bare write, and of a batch of fields with every tile that draws them right."""
    device, axes = torch.device("cuda"), len(size)
    fields, two = (octaves_of(size, _field(n, axes, octaves, cells)) for n in (batch, 2))
    expected, out = product.draw(size, two, device), torch.empty((batch, *size), device=device)
    write = Contender("write", lambda: out.fill_(0.5))
    bare = median(on_device([write], _ROUNDS)["write"])
    found: list[tuple[float, tuple[int, ...]]] = []
    for (planes, lines), (columns, warps) in combinations(_LINES[axes], _COLUMNS):
        if planes * lines * columns > 32 * warps * _REGISTERS:
            continue
        setattr(fused, _NAMES[axes], (planes, lines, columns))
        fused._OPTIONS["num_warps"] = warps
        if not torch.allclose(fused.draw(size, two, device), expected, rtol=0, atol=1e-5):
            raise SystemExit(f"Wrong fields with {(planes, lines, columns, warps)}.")
        ours = Contender("ours", lambda: fused.draw(size, fields, device))
        seconds = median(on_device([ours], _ROUNDS)["ours"])
        found.append((seconds, (planes, lines, columns, warps)))
    return bare, found


def _field(batch: int, axes: int, octaves: int, cells: int) -> Field:
    return Field(
        torch.arange(batch), torch.full((batch, axes), float(cells)), torch.full((batch,), 0.5),
        torch.full((batch,), octaves), torch.full((batch,), 2.0),
    )  # fmt: skip


if __name__ == "__main__":
    main()
