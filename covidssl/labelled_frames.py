"""Labelled scans as frames in memory, cut once and kept in a cache that knows its origin."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_arrays

from covidssl.datasets import LabelledScan
from covidssl.duplicates import Hashes, picture_hash
from covidssl.errors import CovidsslError, DataError, ScanError, traced
from covidssl.files import write_bytes
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels, to_unit
from covidssl.io import read_scan
from covidssl.lungs import REVISION, segment_lungs
from covidssl.rivals import thumbnail_features
from covidssl.scan_frames import ScanFrames, frames_of_scan
from covidssl.splits import Prints
from covidssl.version import __version__

log = logging.getLogger(__name__)

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_CACHE = 3  # raise it when the cache file holds something else
_ARRAYS = ("frames", "scan_of", "thumbnails", "hashes")
_UNEXPECTED = "unexpected "
_SHORTCUT = 0.05  # a class whose share of HU scans is this much larger can be told by that alone

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
        hashes: (len(scans), 32) uint8, `picture_hash` of the middle slice that is looked at, whole.
        voxels: SHA-256 of the voxels of each scan.
        pixels: (len(scans),) the kind of pixel of each scan, as it was read.
        dropped: name and reason of every scan that could not be read.
        without_lungs: names of scans taken whole because no plausible lungs were found.
        warned: name and text of everything that the reader or the lungs found odd.
    """

    frames: NDArray[np.uint16]
    scan_of: NDArray[np.int64]
    scans: tuple[LabelledScan, ...]
    thumbnails: NDArray[np.float32]
    hashes: Hashes
    voxels: tuple[str, ...]
    pixels: tuple[Pixels, ...]
    dropped: tuple[tuple[str, str], ...]
    without_lungs: tuple[str, ...]
    warned: tuple[tuple[str, str], ...]

    @property
    def target(self) -> NDArray[np.int64]:
        """(N,) 1 for a frame of a positive scan."""
        positive = np.array([scan.positive for scan in self.scans], dtype=np.int64)
        return positive[self.scan_of]

    @property
    def prints(self) -> Prints:
        """What is compared of the scans to find the same picture twice."""
        names = tuple(scan.name for scan in self.scans)
        return Prints(names, self.hashes, self.voxels, self.thumbnails)

    @property
    def kinds(self) -> dict[tuple[Pixels, bool], int]:
        """How many scans are of this kind of pixel and of this class (True: positive)."""
        of = zip(self.pixels, (scan.positive for scan in self.scans), strict=True)
        return dict(sorted(Counter(of).items()))

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
        DataError: when no scan of a class could be read, or when one class is HU and the other
            windowed pictures, so that the format tells the label.
        CovidsslError: when the disk is full.
    """
    file = cache / f"frames-{_key(scans, frame, most_slices)[:24]}.safetensors" if cache else None
    cut = _read_cache(file, scans) if file else None
    if cut is None:
        cut = _cut(scans, frame, most_slices, progress)
        # What was not foreseen may go well the next time, so it is not kept.
        if file and not any(reason.startswith(_UNEXPECTED) for _, reason in cut.dropped):
            _write_cache(file, cut)
    if cut.dropped:
        name, reason = cut.dropped[0]
        log.warning("%d scans could not be used; first: %s: %s", len(cut.dropped), name, reason)
    if len({scan.positive for scan in cut.scans}) < len({scan.positive for scan in scans}):
        first = f" First: {cut.dropped[0][1]}" if cut.dropped else ""
        raise DataError(f"No scan of one class could be read ({len(cut.dropped)} dropped).{first}")
    if cut.warned:
        count, (name, text) = len(dict(cut.warned)), cut.warned[0]
        log.warning("%d scans are read with a warning; first: %s: %s", count, name, text)
    _check_kinds(cut.kinds)
    return cut


def _check_kinds(kinds: dict[tuple[Pixels, bool], int]) -> None:
    """Two kinds of pixel in one set tell the classes apart, if the classes differ in them."""
    if len({pixels for pixels, _ in kinds}) < 2:
        return
    in_hu, windowed = (
        tuple(kinds.get((pixels, positive), 0) for positive in (False, True))
        for pixels in (Pixels.HU, Pixels.WINDOWED)
    )
    counts = "; ".join(
        f"{name} class: {hu} in HU, {grey} windowed"
        for name, hu, grey in zip(("negative", "positive"), in_hu, windowed, strict=True)
    )
    shares = [hu / (hu + grey) for hu, grey in zip(in_hu, windowed, strict=True) if hu + grey]
    differ = max(shares) - min(shares)
    if differ == 1:
        raise DataError(
            f"All scans of one class are in HU and all of the other are windowed pictures "
            f"({counts}): the format alone tells the label, and nothing else would be learnt or "
            f"measured. Give both classes as one kind, from the same source."
        )
    log.warning("Scans in HU and windowed pictures are mixed (%s).", counts)
    if differ > _SHORTCUT:
        log.warning(
            "THE CLASSES DIFFER IN PIXEL KIND (%s): a shortcut. What is learnt or measured here "
            "may be the format and not the disease. Give both classes as one kind.",
            counts,
        )


class _Cut(NamedTuple):
    """One scan: its frames, kind of pixel, what it is compared by, and whether it has no lungs."""

    frames: ScanFrames
    pixels: Pixels
    thumbnail: NDArray[np.float32]
    hash: Hashes
    voxels: str
    without_lungs: bool


def _cut(
    scans: Sequence[LabelledScan], frame: Frame, most_slices: int, progress: Progress
) -> LabelledFrames:
    found: list[tuple[LabelledScan, _Cut]] = []
    dropped: list[tuple[str, str]] = []
    for scan in progress(scans, "reading labelled scans", len(scans)):
        cut = _cut_or_reason(scan, frame, most_slices)
        if isinstance(cut, str):
            dropped.append((scan.name, cut))
        else:
            found.append((scan, cut))
    if not found:
        raise DataError(f"Not one of {len(scans)} scans could be read. First: {dropped[0][1]}")
    return LabelledFrames(
        frames=np.concatenate([cut.frames.frames for _, cut in found]),
        scan_of=np.repeat(np.arange(len(found)), [len(cut.frames.frames) for _, cut in found]),
        scans=tuple(scan for scan, _ in found),
        thumbnails=np.stack([cut.thumbnail for _, cut in found]).astype(np.float32),
        hashes=np.stack([cut.hash for _, cut in found]),
        voxels=tuple(cut.voxels for _, cut in found),
        pixels=tuple(cut.pixels for _, cut in found),
        dropped=tuple(dropped),
        without_lungs=tuple(scan.name for scan, cut in found if cut.without_lungs),
        warned=tuple((scan.name, text) for scan, cut in found for text in cut.frames.warnings),
    )


def _cut_or_reason(scan: LabelledScan, frame: Frame, most_slices: int) -> _Cut | str:
    """One scan cut, or why it cannot be used."""
    try:
        return _cut_one(scan, frame, most_slices)
    except ScanError as error:
        return str(error)
    except CovidsslError:
        raise
    except Exception as error:  # not foreseen, but no reason to lose the other scans
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            raise
        log.error("%s: dropped: %s", scan.name, traced(error))
        return f"{_UNEXPECTED}{type(error).__name__}"


def _cut_one(scan: LabelledScan, frame: Frame, most_slices: int) -> _Cut:
    ct = read_scan(scan.files)
    lungs = segment_lungs(ct)
    cut = frames_of_scan(ct, lungs, frame, most_slices)
    pixels = ct.pixels or frame.pixels
    unit = to_unit(ct.array[cut.slices], pixels, frame.window_hu)
    thumbnail = np.mean([thumbnail_features(one) for one in unit], axis=0)
    return _Cut(
        frames=cut,
        pixels=pixels,
        thumbnail=thumbnail,
        hash=picture_hash(unit[len(unit) // 2]),
        voxels=_digest(ct.array),
        without_lungs=not lungs.usable,
    )


def _digest(voxels: NDArray[np.generic]) -> str:
    kind = f"{voxels.dtype.str}{voxels.shape}".encode()
    return hashlib.sha256(kind + np.ascontiguousarray(voxels).tobytes()).hexdigest()


def _key(scans: Sequence[LabelledScan], frame: Frame, most_slices: int) -> str:
    files = [(scan.name, scan.files.stamp()) for scan in scans]
    made_by = [__version__, REVISION, _CACHE]
    text = json.dumps([made_by, frame.model_dump(mode="json"), most_slices, files])
    return hashlib.sha256(text.encode()).hexdigest()


def _write_cache(file: Path, cut: LabelledFrames) -> None:
    notes = {
        "names": [scan.name for scan in cut.scans],
        "voxels": cut.voxels,
        "pixels": cut.pixels,
        "dropped": cut.dropped,
        "without_lungs": cut.without_lungs,
        "warned": cut.warned,
    }
    arrays: dict[str, NDArray[Any]] = {
        "frames": cut.frames,
        "scan_of": cut.scan_of,
        "thumbnails": cut.thumbnails,
        "hashes": cut.hashes,
    }
    write_bytes(file, save_arrays(arrays, {"notes": json.dumps(notes)}))


def _read_cache(file: Path, scans: Sequence[LabelledScan]) -> LabelledFrames | None:
    if not file.is_file():
        return None
    by_name = {scan.name: scan for scan in scans}
    try:
        with safe_open(file, framework="numpy") as saved:
            notes = json.loads(saved.metadata()["notes"])
            arrays = {name: saved.get_tensor(name) for name in _ARRAYS}
        return LabelledFrames(
            **arrays,
            scans=tuple(by_name[name] for name in notes["names"]),
            voxels=tuple(notes["voxels"]),
            pixels=tuple(Pixels(kind) for kind in notes["pixels"]),
            dropped=tuple((name, reason) for name, reason in notes["dropped"]),
            without_lungs=tuple(notes["without_lungs"]),
            warned=tuple((name, text) for name, text in notes["warned"]),
        )
    except (SafetensorError, KeyError, ValueError):
        log.warning("The cache %s is not readable; it is made again.", file.name)
        return None
