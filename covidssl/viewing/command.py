"""The command that shows a scan and its map, for whoever has just let scans be answered."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from covidssl.answers import Answer
from covidssl.config import overrides_to
from covidssl.errors import CovidsslError
from covidssl.inference.journal import ANSWERED, Entry, read_answer
from covidssl.io import Reading, ScanFiles, choose_series, find_scans
from covidssl.viewing.plan import ViewConfig

_VOLUMES = ("dicom", "nifti", "metaimage")
_MAPS = ("lesion_map", "evidence_map")
_TRIED = 5


def look_command(
    out: Path, scans: Sequence[ScanFiles], entries: Iterable[Entry], reading: Reading
) -> str:
    """A `covidssl view` line of one of the first scans that has a map; empty where none can be.

    Args:
        out: the run of `predict`.
        scans: all that it was given.
        entries: what became of them, in the order of the table.
        reading: how they were read.
    """
    files = {scan.name: scan for scan in scans}
    answered = (entry.scan for entry in entries if entry.outcome in ANSWERED)
    config = ViewConfig(pixels=reading.pixels, policy=reading.policy)
    for name in islice(answered, _TRIED):
        drawn = _map_of(read_answer(out, name))
        place = _place_of(files[name], scans) if drawn and name in files else None
        if drawn and place is not None:
            given = shlex.join(["covidssl", "view", str(place), "--map", str(out / drawn)])
            return " ".join([given, *overrides_to(ViewConfig(), config)])
    return ""


def _map_of(answer: Answer) -> str:
    """A map as NIfTI, below the output; those of pictures are PNGs, which `view` does not show."""
    maps = (answer.files.get(kind, "") for kind in _MAPS)
    return next((one for one in maps if one.endswith(".nii.gz")), "")


def _place_of(scan: ScanFiles, scans: Sequence[ScanFiles]) -> Path | None:
    """What `view` must be given to open just this scan; None where it would find several."""
    if scan.format not in _VOLUMES:
        return None
    first = scan.paths[0]
    is_folder = scan.format == "dicom" and len(scan.paths) > 1
    place = scan.archive or (first.parent if is_folder else first)
    if sum((one.archive or one.paths[0]).is_relative_to(place) for one in scans) > 1:
        return None
    try:
        found = choose_series(find_scans([place]).scans).scans
    except (CovidsslError, OSError):
        return None
    is_it = len(found) == 1 and set(found[0].paths) == set(scan.paths)
    return place if is_it else None
