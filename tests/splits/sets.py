"""Datasets of names alone, for what needs no picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from covidssl.datasets import Dataset, LabelledScan
from covidssl.io import ScanFiles
from covidssl.splits import Assigned


def scan(
    name: str, positive: bool, patient: str | None = None, split: str | None = None
) -> LabelledScan:
    return LabelledScan(name, ScanFiles(name, "picture", (Path(name),)), positive, patient, split)


def dataset(*scans: LabelledScan) -> Dataset:
    return Dataset("set", scans, ("normal", "COVID"))


def of_patients(patients: int = 40, scans_each: int = 3) -> Dataset:
    """Every second patient is ill."""
    return dataset(
        *(
            scan(f"p{p:02d}/{k}.png", p % 2 == 1, f"p{p:02d}")
            for p in range(patients)
            for k in range(scans_each)
        )
    )


def in_file_order(of_a_class: int = 400) -> Dataset:
    """Slices of nobody known, the patients following each other."""
    return dataset(
        *(
            scan(f"{name}/slice {k}.png", name == "COVID")
            for name in ("COVID", "normal")
            for k in range(of_a_class)
        )
    )


def splits_of(assigned: Sequence[Assigned]) -> dict[str, str]:
    return {one.scan.name: one.split for one in assigned}
