"""Labelled scans as frames in memory, cut once and kept in a cache that knows its origin."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.counting import counted
from covidssl.datasets import LabelledScan
from covidssl.duplicates import Hashes, picture_hash, voxels_digest
from covidssl.each_scan import (
    Dropped,
    Kept,
    Progress,
    key_of,
    may_be_kept,
    no_progress,
    read_each,
    read_kept,
    write_kept,
)
from covidssl.errors import DataError
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels, to_unit
from covidssl.io import read_scan
from covidssl.lungs import Lungs, segment_lungs
from covidssl.rivals import thumbnail_features
from covidssl.scan_frames import ScanFrames, frames_of_scan, slices_with_lung
from covidssl.splits import Prints
from covidssl.volume import Volume

log = logging.getLogger(__name__)

_CACHE = 3  # raise it when the cache file holds something else
_MASKS, _LOOKED_AT = "masks", "looked at: "
_SHORTCUT = 0.05  # a class whose share of HU scans is this much larger can be told by that alone


class Look(NamedTuple):
    """What else is looked at while a scan is open, so that it need not be opened again.

    Attributes:
        name: of it and of its version, which the cache knows it by.
        of: gives arrays of a scan by name; each of the same shape for all scans.
    """

    name: str
    of: Callable[[LabelledScan, Volume, Lungs], Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class LabelledFrames:
    """Frames of labelled scans.

    Attributes:
        frames: (N, size, size) uint16, network units scaled to 0..65535; or one volume a scan,
            (N, depth, size, size).
        scan_of: (N,) place in `scans` of each frame's scan.
        scans: the scans that could be read.
        thumbnails: (len(scans), 176) features of the trivial rival, of the whole pictures.
        hashes: (len(scans), 32) uint8, `picture_hash` of the middle slice that is looked at, whole.
        voxels: SHA-256 of the voxels of each scan.
        pixels: (len(scans),) the kind of pixel of each scan, as it was read.
        dropped: name and reason of every scan that could not be read.
        without_lungs: names of scans taken whole because no plausible lungs were found.
        warned: name and text of everything that the reader or the lungs found odd.
        looked_at: what a `Look` saw, name to an array (len(scans), ...); empty without one.
        masks: (N, ..., ceil(size / 8)) uint8, the lungs in each frame, eight pixels of a row a
            byte (`numpy.packbits`); kept with a `Look` alone, else None.
    """

    frames: NDArray[np.uint16]
    scan_of: NDArray[np.int64]
    scans: tuple[LabelledScan, ...]
    thumbnails: NDArray[np.float32]
    hashes: Hashes
    voxels: tuple[str, ...]
    pixels: tuple[Pixels, ...]
    dropped: Dropped
    without_lungs: tuple[str, ...]
    warned: tuple[tuple[str, str], ...]
    looked_at: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    masks: NDArray[np.uint8] | None = None

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

    def lungs(self, which: NDArray[np.int64]) -> NDArray[np.bool_]:
        """The lungs in the frames that `which` names, of the frames' own shape.

        Raises:
            ValueError: when the masks were not kept.
        """
        if self.masks is None:
            raise ValueError("The masks of the lungs were not kept: load the frames with a look.")
        edge = self.frames.shape[-1]
        return np.unpackbits(self.masks[which], axis=-1, count=edge).view(np.bool_)

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
    look: Look | None = None,
) -> LabelledFrames:
    """Read scans, find their lungs, and cut their frames; a scan that cannot be read is dropped.

    Args:
        scans: of the dataset.
        frame: of the network.
        most_slices: frames of one scan at most.
        cache: folder for the frames, so that they are cut once; None for none.
        progress: shows how far it is.
        look: what else is kept of each scan; None for nothing.

    Raises:
        DataError: when no scan of a class could be read, or when one class is HU and the other
            windowed pictures, so that the format tells the label.
        CovidsslError: when the disk is full.
    """
    made_by = (_CACHE, frame.model_dump(mode="json"), most_slices, *([look.name] if look else ()))
    key = key_of(scans, *made_by)
    file = cache / f"frames-{key}.safetensors" if cache else None
    cut = read_kept(file, lambda kept: _from_kept(kept, scans)) if file else None
    if cut is None:
        cut = _cut(scans, lambda scan: _cut_one(scan, frame, most_slices, look), progress)
        if file and may_be_kept(cut.dropped):
            write_kept(file, _to_keep(cut))
    if cut.dropped:
        name, reason = cut.dropped[0]
        unread = counted(len(cut.dropped), "scan")
        log.warning("%s could not be used; first: %s: %s", unread, name, reason)
    if len({scan.positive for scan in cut.scans}) < len({scan.positive for scan in scans}):
        first = f" First: {cut.dropped[0][1]}" if cut.dropped else ""
        raise DataError(f"No scan of one class could be read ({len(cut.dropped)} dropped).{first}")
    if cut.warned:
        odd, (name, text) = counted(len(dict(cut.warned)), "scan"), cut.warned[0]
        log.warning("%s read with a warning; first: %s: %s", odd, name, text)
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
    looked_at: Mapping[str, NDArray[Any]] | None


def _cut(
    scans: Sequence[LabelledScan], cut_one: Callable[[LabelledScan], _Cut], progress: Progress
) -> LabelledFrames:
    found, dropped = read_each(scans, cut_one, "reading labelled scans", progress)
    seen = [cut.looked_at for _, cut in found if cut.looked_at is not None]
    return LabelledFrames(
        frames=np.concatenate([cut.frames.frames for _, cut in found]),
        scan_of=np.repeat(np.arange(len(found)), [len(cut.frames.frames) for _, cut in found]),
        scans=tuple(scan for scan, _ in found),
        thumbnails=np.stack([cut.thumbnail for _, cut in found]).astype(np.float32),
        hashes=np.stack([cut.hash for _, cut in found]),
        voxels=tuple(cut.voxels for _, cut in found),
        pixels=tuple(cut.pixels for _, cut in found),
        dropped=dropped,
        without_lungs=tuple(scan.name for scan, cut in found if cut.without_lungs),
        warned=tuple((scan.name, text) for scan, cut in found for text in cut.frames.warnings),
        looked_at={name: np.stack([one[name] for one in seen]) for name in (seen or [{}])[0]},
        masks=np.concatenate([np.packbits(cut.frames.lungs, axis=-1) for _, cut in found])
        if seen
        else None,
    )


def _cut_one(scan: LabelledScan, frame: Frame, most_slices: int, look: Look | None) -> _Cut:
    ct = read_scan(scan.files)
    lungs = segment_lungs(ct)
    cut = frames_of_scan(ct, lungs, frame, most_slices)
    pixels = ct.pixels or frame.pixels
    known = print_of(ct, lungs, frame, most_slices)
    return _Cut(
        frames=cut,
        pixels=pixels,
        thumbnail=known.thumbnail,
        hash=known.hash,
        voxels=known.voxels,
        without_lungs=not lungs.usable,
        looked_at=look.of(scan, ct, lungs) if look else None,
    )


class ScanPrint(NamedTuple):
    """By what one scan is known again: a row of `Prints`."""

    hash: Hashes
    voxels: str
    thumbnail: NDArray[np.float32]


def print_of(ct: Volume, lungs: Lungs, frame: Frame, most_slices: int) -> ScanPrint:
    """By what a scan is known again, through the window of a network.

    It is of the slices that are looked at, of a volume too: whatever network looks at them.
    """
    slices = slices_with_lung(lungs, most_slices)
    unit = to_unit(ct.array[slices], ct.pixels or frame.pixels, frame.window_hu)
    return ScanPrint(
        picture_hash(unit[len(unit) // 2]),
        voxels_digest(ct.array),
        np.mean([thumbnail_features(one) for one in unit], axis=0).astype(np.float32),
    )


def _to_keep(cut: LabelledFrames) -> Kept:
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
        **({} if cut.masks is None else {_MASKS: cut.masks}),
        **{f"{_LOOKED_AT}{name}": array for name, array in cut.looked_at.items()},
    }
    return Kept(arrays, notes)


def _from_kept(kept: Kept, scans: Sequence[LabelledScan]) -> LabelledFrames:
    """What the cache holds, with the labels that the scans have now."""
    by_name = {scan.name: scan for scan in scans}
    arrays, notes = kept
    return LabelledFrames(
        frames=arrays["frames"],
        scan_of=arrays["scan_of"],
        scans=tuple(by_name[name] for name in notes["names"]),
        thumbnails=arrays["thumbnails"],
        hashes=arrays["hashes"],
        voxels=tuple(notes["voxels"]),
        pixels=tuple(Pixels(kind) for kind in notes["pixels"]),
        dropped=tuple((name, reason) for name, reason in notes["dropped"]),
        without_lungs=tuple(notes["without_lungs"]),
        warned=tuple((name, text) for name, text in notes["warned"]),
        looked_at={
            name.removeprefix(_LOOKED_AT): array
            for name, array in arrays.items()
            if name.startswith(_LOOKED_AT)
        },
        masks=arrays.get(_MASKS),
    )
