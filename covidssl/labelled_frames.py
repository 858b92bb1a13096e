"""Labelled scans as frames in memory, cut once and kept in a cache that knows its origin."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_arrays

from covidssl.datasets import LabelledScan
from covidssl.errors import DataError, ScanError
from covidssl.files import write_bytes
from covidssl.frames import Frame
from covidssl.hounsfield import to_unit
from covidssl.io import read_scan
from covidssl.lungs import segment_lungs
from covidssl.rivals import thumbnail_features
from covidssl.scan_frames import frames_of_scan
from covidssl.version import __version__

log = logging.getLogger(__name__)

Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Wraps an iterable in a progress bar: (items, what, how many)."""


def no_progress(items: Iterable[Any], _what: str, _count: int) -> Iterable[Any]:
    """Progress that shows nothing."""
    return items


@dataclass(frozen=True)
class LabelledFrames:
    """Frames of labelled scans.

    Attributes:
        frames: (N, size, size) uint16, network units scaled to 0..65535.
        scan_of: (N,) place in `scans` of each frame's scan.
        scans: the scans that could be read.
        thumbnails: (len(scans), 176) features of the trivial rival, of the whole pictures.
        dropped: name and reason of every scan that could not be read.
        without_lungs: names of scans taken whole because no plausible lungs were found.
    """

    frames: NDArray[np.uint16]
    scan_of: NDArray[np.int64]
    scans: tuple[LabelledScan, ...]
    thumbnails: NDArray[np.float32]
    dropped: tuple[tuple[str, str], ...]
    without_lungs: tuple[str, ...]

    @property
    def target(self) -> NDArray[np.int64]:
        """(N,) 1 for a frame of a positive scan."""
        positive = np.array([scan.positive for scan in self.scans], dtype=np.int64)
        return positive[self.scan_of]

    def of(self, names: Iterable[str]) -> NDArray[np.int64]:
        """Places of the frames of the named scans."""
        wanted = set(names)
        places = [index for index, scan in enumerate(self.scans) if scan.name in wanted]
        return np.flatnonzero(np.isin(self.scan_of, places))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names, labels and frames."""
        digest = hashlib.sha256(np.ascontiguousarray(self.frames).tobytes())
        for scan in self.scans:
            digest.update(f"{scan.name}\0{scan.positive}\0".encode())
        return digest.hexdigest()


def load_labelled_frames(
    scans: Sequence[LabelledScan],
    frame: Frame,
    most_slices: int,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> LabelledFrames:
    """Read scans, find their lungs, and cut their frames; a scan that cannot be read is dropped.

    Args:
        scans: of the dataset.
        frame: of the network.
        most_slices: frames of one scan at most.
        cache: folder for the frames, so that they are cut once; None for none.
        progress: shows how far it is.

    Raises:
        DataError: when no scan of a class could be read.
    """
    file = cache / f"frames-{_key(scans, frame, most_slices)[:24]}.safetensors" if cache else None
    cut = _read_cache(file, scans) if file else None
    if cut is None:
        cut = _cut(scans, frame, most_slices, progress)
        if file:
            _write_cache(file, cut)
    if cut.dropped:
        name, reason = cut.dropped[0]
        log.warning("%d scans could not be used; first: %s: %s", len(cut.dropped), name, reason)
    if len({scan.positive for scan in cut.scans}) < len({scan.positive for scan in scans}):
        first = f" First: {cut.dropped[0][1]}" if cut.dropped else ""
        raise DataError(f"No scan of one class could be read ({len(cut.dropped)} dropped).{first}")
    return cut


def _cut(
    scans: Sequence[LabelledScan], frame: Frame, most_slices: int, progress: Progress
) -> LabelledFrames:
    frames: list[NDArray[np.uint16]] = []
    scan_of: list[NDArray[np.int64]] = []
    read: list[LabelledScan] = []
    thumbnails: list[NDArray[np.float32]] = []
    dropped: list[tuple[str, str]] = []
    without_lungs: list[str] = []
    for scan in progress(scans, "reading labelled scans", len(scans)):
        try:
            ct = read_scan(scan.files)
            lungs = segment_lungs(ct)
            cut = frames_of_scan(ct, lungs, frame, most_slices)
        except ScanError as error:
            dropped.append((scan.name, str(error)))
            continue
        if lungs.problem:
            without_lungs.append(scan.name)
        frames.append(cut.frames)
        scan_of.append(np.full(len(cut.frames), len(read), dtype=np.int64))
        unit = to_unit(ct.array[cut.slices], ct.pixels or frame.pixels, frame.window_hu)
        thumbnails.append(np.mean([thumbnail_features(one) for one in unit], axis=0))
        read.append(scan)
    if not frames:
        raise DataError(f"Not one of {len(scans)} scans could be read. First: {dropped[0][1]}")
    return LabelledFrames(
        np.concatenate(frames),
        np.concatenate(scan_of),
        tuple(read),
        np.stack(thumbnails).astype(np.float32),
        tuple(dropped),
        tuple(without_lungs),
    )


def _key(scans: Sequence[LabelledScan], frame: Frame, most_slices: int) -> str:
    files = [
        (scan.name, [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in scan.files.paths])
        for scan in scans
    ]
    text = json.dumps([__version__, frame.model_dump(mode="json"), most_slices, files])
    return hashlib.sha256(text.encode()).hexdigest()


def _write_cache(file: Path, cut: LabelledFrames) -> None:
    notes = {
        "names": [scan.name for scan in cut.scans],
        "dropped": cut.dropped,
        "without_lungs": cut.without_lungs,
    }
    arrays: dict[str, NDArray[Any]] = {
        "frames": cut.frames,
        "scan_of": cut.scan_of,
        "thumbnails": cut.thumbnails,
    }
    write_bytes(file, save_arrays(arrays, {"notes": json.dumps(notes)}))


def _read_cache(file: Path, scans: Sequence[LabelledScan]) -> LabelledFrames | None:
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="numpy") as saved:
            notes = json.loads(saved.metadata()["notes"])
            arrays = {name: saved.get_tensor(name) for name in ("frames", "scan_of", "thumbnails")}
    except (SafetensorError, KeyError, ValueError):
        log.warning("The cache %s is not readable; it is made again.", file.name)
        return None
    by_name = {scan.name: scan for scan in scans}
    return LabelledFrames(
        arrays["frames"],
        arrays["scan_of"],
        tuple(by_name[name] for name in notes["names"]),
        arrays["thumbnails"],
        tuple((n, r) for n, r in notes["dropped"]),
        tuple(notes["without_lungs"]),
    )
