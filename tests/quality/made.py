"""Small sets made by code for the tests of quality."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from covidssl.datasets import LabelledScan
from covidssl.files import write_csv
from covidssl.io import find_scans
from covidssl.randomness import numpy_generator
from covidssl.splits import Prints
from tests.scan_files import chest_grey, write_png


def scans_of(
    folder: Path, patients: list[str | None], positive: list[bool]
) -> tuple[LabelledScan, ...]:
    """Scans in file order, all of one small picture."""
    (files,) = find_scans([write_png(folder / "one.png", np.zeros((8, 8), np.uint8))]).scans
    return tuple(
        LabelledScan(f"{place:04d}.png", files, sick, patient)
        for place, (patient, sick) in enumerate(zip(patients, positive, strict=True))
    )


def prints_of(scans: tuple[LabelledScan, ...], alike: tuple[tuple[int, int], ...] = ()) -> Prints:
    """Prints of pictures that have nothing in common, but for pairs of near duplicates."""
    generator = numpy_generator(5)
    hashes = generator.integers(0, 256, (len(scans), 32)).astype(np.uint8)
    for first, second in alike:
        hashes[second] = hashes[first]
        hashes[second, 0] ^= 1
    voxels = tuple(f"{place:064x}" for place in range(len(scans)))
    thumbnails = generator.random((len(scans), 176)).astype(np.float32)
    return Prints(tuple(scan.name for scan in scans), hashes, voxels, thumbnails)


def write_chests(folder: Path, count: int) -> Path:
    """Grey chests, every second one with brighter lungs and called COVID; gives their CSV."""
    rows = []
    for place in range(count):
        grey = chest_grey(seed=place)
        shade = numpy_generator(8, place).integers(0, 20, grey.shape)
        sick = place % 2 == 1
        bright = np.where((grey < 90) & sick, grey + 40, grey) + shade
        write_png(folder / f"{place:03d}.png", np.clip(bright, 0, 255).astype(np.uint8))
        label = "COVID" if sick else "non-COVID"
        rows.append({"path": f"{place:03d}.png", "label": label, "patient": f"person-{place}"})
    write_csv(folder / "labels.csv", ("path", "label", "patient"), rows)
    return folder / "labels.csv"
