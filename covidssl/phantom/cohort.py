"""Folders of phantoms that look to a reader like a download: for demonstrations and tests."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from covidssl.files import write_csv
from covidssl.io import write_volume
from covidssl.phantom.scan import SHAPE, SPACING_MM, phantom_chest

CLASS_FOLDERS = {"COVID": True, "non-COVID": False}


class Grid(NamedTuple):
    """Slices, rows and columns of the scans of a cohort, and their voxel size (z, y, x)."""

    shape: tuple[int, int, int] = SHAPE
    spacing_mm: tuple[float, float, float] = SPACING_MM


SLABS = Grid()
"""Few thick slices, for networks of slices."""

WHOLE_LUNGS = Grid((36, 112, 112), (7.0, 3.0, 3.0))
"""As high as lungs are, for networks of volumes."""


def write_unlabelled(folder: Path, n: int, seed: int, grid: Grid = SLABS) -> tuple[Path, ...]:
    """Write `n` scans without lesions, `patient-001.nii.gz` and so on; returns their paths."""
    paths = tuple(folder / f"patient-{i + 1:03d}.nii.gz" for i in range(n))
    for i, path in enumerate(paths):
        write_volume(phantom_chest(_person(seed, i), False, *grid).ct, path)
    return paths


def write_labelled(
    folder: Path, n_per_class: int, seed: int, grid: Grid = SLABS
) -> tuple[Path, ...]:
    """Write scans of both classes into `COVID/` and `non-COVID/`; returns their paths.

    Patients are numbered through both classes; no two scans are of one person. The table
    `labels.csv` (path, label, patient) comes last.
    """
    paths, rows = [], []
    for i in range(2 * n_per_class):
        name = list(CLASS_FOLDERS)[i // n_per_class]
        path = folder / name / f"patient-{i + 1:03d}.nii.gz"
        write_volume(phantom_chest(_person(seed, i), CLASS_FOLDERS[name], *grid).ct, path)
        paths.append(path)
        patient = path.name.removesuffix(".nii.gz")
        rows.append({"path": f"{name}/{path.name}", "label": name, "patient": patient})
    write_csv(folder / "labels.csv", ("path", "label", "patient"), rows)
    return tuple(paths)


def _person(seed: int, i: int) -> int:
    """A person's seed: cohorts of different seeds have nobody in common."""
    return seed * 1_000_003 + i
