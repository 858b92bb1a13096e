"""Made-up datasets in which it is known what an audit has to find."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covidssl.audit.seen import FileFacts, Seen
from covidssl.audit.views import WIDTHS
from covidssl.datasets import Dataset, LabelledScan
from covidssl.io import ScanFiles
from covidssl.randomness import numpy_generator
from tests.scan_files import chest_grey, write_png

CLASSES = ("normal", "COVID")


def scans_of(
    target: Sequence[int] | NDArray[np.integer],
    patients: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
) -> tuple[LabelledScan, ...]:
    """Scans without files, called `CLASS/NUMBER.png` in the order of their class."""
    counts = [0, 0]
    scans = []
    for row, positive in enumerate(target):
        name = f"{CLASSES[positive]}/{counts[positive]}.png"
        counts[positive] += 1
        scans.append(
            LabelledScan(
                name,
                ScanFiles(name, "picture", (Path(name),)),
                bool(positive),
                patients[row] if patients else None,
                splits[row] if splits else None,
            )
        )
    return tuple(scans)


def seen_of(scans: Sequence[LabelledScan], seed: int = 0, **views: NDArray[np.floating]) -> Seen:
    """Scans with views of noise, but for those given; no two pictures are alike."""
    generator = numpy_generator(seed, 1)
    noise = {
        name: generator.normal(size=(len(scans), width)).astype(np.float32)
        for name, width in WIDTHS.items()
    }
    return Seen(
        scans=tuple(scans),
        views=noise | {name: np.asarray(view, np.float32) for name, view in views.items()},
        hashes=generator.integers(0, 256, (len(scans), 32), dtype=np.uint8),
        voxels=tuple(f"{seed}-{row}" for row in range(len(scans))),
        facts=(FileFacts("PNG", "L", 1, 64, 64),) * len(scans),
        without_lungs=(),
        dropped=(),
    )


def dataset_of(scans: Sequence[LabelledScan]) -> Dataset:
    return Dataset("made up", tuple(scans), CLASSES)


def half(n: int) -> NDArray[np.int64]:
    """Labels of n scans in file order: the first half negative, the second positive."""
    return np.repeat([0, 1], [n // 2, n - n // 2])


def write_patients(
    folder: Path, patients: int = 6, slices: int = 6, edge: int = 64, bright: int = 0
) -> Path:
    """Class folders of PNG slices: a patient's slices follow each other and look alike.

    Args:
        folder: to write into.
        patients: of each class.
        slices: of each patient.
        edge: of a picture.
        bright: grey values by which the upper border of the positive class is brighter.
    """
    for positive, name in enumerate(CLASSES):
        for patient in range(patients):
            own = _texture(edge, 5, positive, patient)
            for index in range(slices):
                slice_own = _texture(edge, 6, positive, patient, index)
                grey = chest_grey(edge, seed=index) + 70 * own + 35 * slice_own
                grey[:2] = 30 + bright * positive
                path = folder / name / f"slice {patient * slices + index}.png"
                write_png(path, np.clip(grey, 0, 255).astype(np.uint8))
    return folder


def _texture(edge: int, *key: int) -> NDArray[np.float64]:
    """A smooth pattern (edge, edge) in [-1, 1]."""
    smooth = ndimage.gaussian_filter(numpy_generator(*key).normal(size=(edge, edge)), 4)
    found: NDArray[np.float64] = smooth / np.abs(smooth).max()
    return found
