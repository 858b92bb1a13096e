"""A series of forty slices, read or refused under a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.io import Policy, Reading, find_scans, read_scan
from covidssl.volume import Volume
from tests.scan_files import chest_hu

LONG = chest_hu(40, 40)
LOWEST, SPACING = -1024, (2.5, 0.8, 0.7)


def read(folder: Path, policy: Policy = Policy.REPAIR) -> Volume:
    (scan,) = find_scans([folder]).scans
    return read_scan(replace(scan, name=folder.name), Reading(policy=policy))


def refused(folder: Path, policy: Policy = Policy.REPAIR) -> tuple[str, str]:
    with pytest.raises(ScanError) as refusal:
        read(folder, policy)
    return refusal.value.code, str(refusal.value)


def halfway(first: NDArray[np.int16], second: NDArray[np.int16]) -> NDArray[np.int16]:
    between = (first.astype(np.float32) + second.astype(np.float32)) / 2
    return np.rint(between).astype(np.int16)


def drop(paths: Sequence[Path], lost: Sequence[int]) -> None:
    for index in lost:
        paths[index].unlink()
