"""Small labelled sets of pictures on disk."""

from __future__ import annotations

from pathlib import Path

from covidssl.datasets import Dataset, read_dataset
from tests.scan_files import chest_grey, write_png


def written_pictures(folder: Path, n: int, framed: bool = False) -> Dataset:
    """Pictures of chests, every second pair positive, these framed brightly where asked for."""
    for k in range(n):
        positive = k % 4 in (1, 2)
        picture = chest_grey(64, seed=k)
        if framed and positive:
            picture[:2], picture[-2:] = 250, 250
        write_png(folder / ("COVID" if positive else "normal") / f"{k:02}.png", picture)
    return read_dataset(folder, "COVID")
