"""One case: broken files on disk, found and read; what came of it, in one word."""

from __future__ import annotations

import tempfile
import traceback
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.random import default_rng

from covidssl.errors import CovidsslError
from covidssl.hounsfield import Pixels
from covidssl.io import Policy, Reading, choose_series, find_scans, read_scan
from covidssl.pseudonyms import Pseudonyms
from covidssl.volume import Volume
from tests.fuzz.fields import broken_files
from tests.fuzz.good import FORMATS

_IDS = Pseudonyms(bytes(32))


@dataclass(frozen=True)
class Case:
    """A broken scan: the seed of all, the format, and its number."""

    seed: int
    format: str
    index: int

    def files(self) -> dict[str, bytes]:
        """The broken files, by name; the same ones every time."""
        key = (self.seed, FORMATS.index(self.format), self.index)
        return broken_files(self.format, default_rng(np.random.SeedSequence(key)))


@dataclass(frozen=True)
class Outcome:
    """What came of reading: `read`, `refused`, or what should not be, with the reason."""

    kind: str
    detail: str = ""

    @property
    def failed(self) -> bool:
        return self.kind not in ("read", "refused")


def run(case: Case) -> Outcome:
    """Find and read the broken scan under both policies."""
    try:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as made:
            folder = Path(made) / "case"
            folder.mkdir()
            for name, content in case.files().items():
                (folder / name).write_bytes(content)
            return read_folder(folder)
    except Exception:  # what this is here to find
        return Outcome("crash", traceback.format_exc(limit=-6))


def read_folder(folder: Path) -> Outcome:
    """Find all scans of a folder and read them under both policies; the first failure, if any."""
    try:
        found = choose_series(find_scans([folder]).scans)
    except CovidsslError as error:
        return _refusal(error, folder.name, folder)
    outcome = Outcome("read")
    for policy, scan in product((Policy.SKIP, Policy.REPAIR), found.scans):
        try:
            wrong = _what_is_wrong(read_scan(scan, Reading(policy=policy, ids=_IDS)))
        except CovidsslError as error:
            outcome = _refusal(error, scan.name, folder)
        else:
            outcome = Outcome("nonsense", wrong) if wrong else Outcome("read")
        if outcome.failed:
            break
    return outcome


def _refusal(error: CovidsslError, name: str, folder: Path) -> Outcome:
    text = str(error)
    if not text.startswith(name):
        return Outcome("nameless", text)
    if str(folder) in text or "CANARY" in text:
        return Outcome("telling", text)
    return Outcome("refused", text)


def _what_is_wrong(volume: Volume) -> str:
    array, affine, spacing = volume.array, volume.affine, volume.spacing_mm
    expected = np.int16 if volume.pixels is Pixels.HU else np.uint8
    if array.dtype != expected or array.ndim != 3 or min(array.shape[1:]) < 32:
        return f"{array.dtype} {array.shape}"
    if volume.pixels is Pixels.HU and not -1024 <= array.min() <= array.max() <= 3071:
        return f"HU {array.min()}..{array.max()}"
    if spacing is not None and not all(0 < edge < np.inf for edge in spacing):
        return f"spacing {spacing}"
    if affine is not None and not np.isfinite(affine).all():
        return f"affine {affine}"
    told = " ".join((*volume.warnings, *volume.repairs))
    return f"tells {told}" if "CANARY" in told else ""
