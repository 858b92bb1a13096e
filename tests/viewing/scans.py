"""A small scan and a map of it, on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from covidssl.io import read_ct, write_volume
from tests.scan_files import chest_hu, write_dicom

SPOT = (slice(4, 9), slice(20, 32), slice(10, 20))
"""Voxels (z, y, x) where the map is above 0."""


def write_scan(folder: Path, **tags: Any) -> Path:
    """A DICOM series of 14 slices, 48 x 48 pixels, in a folder of its own."""
    write_dicom(folder, chest_hu(14, 48), **tags)
    return folder


def write_map(scan: Path, path: Path, high: float = 0.8) -> Path:
    """A map of the scan: `high` in `SPOT`, 0 elsewhere."""
    ct = read_ct(scan)
    values = np.zeros(ct.array.shape, np.float32)
    values[SPOT] = high
    write_volume(replace(ct, array=values, pixels=None), path)
    return path
