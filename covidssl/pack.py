"""A store's slices cut to frames once, in one mapped file: to train where there is only PyTorch.

A file (or its parts) holds the frames exactly as `covidssl.frames` cuts them, the lung masks as one
bit a pixel, the size of a pixel, and the columns of the store's index.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from covidssl.errors import DataError, UsageError
from covidssl.frames import Frame, frame_mask, frame_pixels
from covidssl.hounsfield import Pixels
from covidssl.store import Store, StoredSlice, StoredSlices, digest
from covidssl.tensor_files import Shape, TensorFile, map_tensors, new_tensors

FORMAT = "covidssl-pack-1"
_REVISION = 1  # of how slices are cut and laid out: parts of two revisions do not mix
SUFFIX = ".safetensors"
Bits = Literal[8, 16]

_PART = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.safetensors")
_STEP = 65535 // 255
_HEADER_BYTES = 16 * 2**10
_INDEX_BYTES = 128
"""Of one slice and one scan in the columns of the index, its name apart."""

_PER_SCAN = ("pixels", "shape", "box", "spacing", "sizes")
_PER_SLICE = ("slice_index", "slice_share")


class Cut(NamedTuple):
    """A slice as a network sees it: frame (1, S, S) uint16, lungs (1, S, S) bool, mm of a pixel."""

    frame: NDArray[np.uint16]
    lungs: NDArray[np.bool_]
    pixel_mm: tuple[float, float]


@dataclass(frozen=True)
class Packing:
    """How a pack is made.

    Attributes:
        frame: how slices are cut.
        bits: of a pixel; 16 are exact, 8 take half the room.
        most_bytes: of one part; None for one file.
    """

    frame: Frame
    bits: Bits = 16
    most_bytes: int | None = None


def cut(store: Store, stored: StoredSlice, frame: Frame) -> Cut:
    """Read one slice of a store and cut it.

    Raises:
        DataError: as `Store.read`.
    """
    array, lungs = store.read(stored)
    box = frame.box(stored.box, *array.shape)
    return Cut(
        frame_pixels(array[None], stored.pixels, box, frame),
        frame_mask(lungs[None], box, frame),
        frame.pixel_mm(box, stored.box, stored.spacing_mm),
    )


class Pack:
    """A pack, read like a store.

    Attributes:
        folder: its file, for messages.
        frame: how its slices were cut.
        slices: what is known of them.
        fingerprint: the store's; another one when 8 bits were kept.
        pixels: the kind of pixel that was cut.
        slices_dropped: slices that the store did not list.
    """

    def __init__(self, path: Path, files: Sequence[tuple[Path, TensorFile]]) -> None:
        notes = files[0][1].notes
        self.folder = path
        self._paths = [part for part, _ in files]
        self._parts = [file.arrays for _, file in files]
        self._starts = np.cumsum([0, *(len(part["frames"]) for part in self._parts)])
        try:
            self.frame = Frame.model_validate_json(notes["frame"])
            self.pixels = Pixels(notes["pixels"])
            self.fingerprint = notes["fingerprint"]
            self.slices_dropped = int(notes["slices_dropped"])
            self.slices = StoredSlices(_joined(self._parts))
        except (KeyError, ValueError, ValidationError) as error:
            raise DataError(
                f"{path.name}: is damaged ({type(error).__name__}); pack again."
            ) from None

    @classmethod
    def open(cls, path: Path) -> Pack:
        """Open a pack: its file, any of its parts, or the name that the parts share.

        Raises:
            DataError: when there is none, or a part is missing, damaged or of another pack.
        """
        paths = _paths_of(path)
        files = [(part, _checked(part)) for part in paths]
        first = files[0][1].notes
        for part, file in files:
            if file.notes["id"] != first["id"]:
                raise DataError(
                    f"{part.name}: belongs to another pack than {paths[0].name}. Keep the parts of "
                    f"one pack together, and no others of that name."
                )
        there = {int(file.notes["part"]) for _, file in files}
        parts = int(first["parts"])
        if there != set(range(1, parts + 1)):
            gone = sorted(set(range(1, parts + 1)) - there)
            raise DataError(
                f"{path.name}: {len(gone)} of {parts} parts are missing, such as number {gone[0]}. "
                f"Copy all of them into one folder, or pack again."
            )
        _check_order(files)
        return cls(path, files)

    def at(self, place: int) -> Cut:
        """The slice at a place."""
        part = int(np.searchsorted(self._starts, place, side="right")) - 1
        arrays, row = self._parts[part], place - int(self._starts[part])
        pixels = arrays["frames"][row]
        frame = pixels if pixels.dtype == np.uint16 else pixels.astype(np.uint16) * _STEP
        lungs = np.unpackbits(arrays["lungs"][row], axis=-1, count=frame.shape[-1])
        y_mm, x_mm = arrays["pixel_mm"][row].tolist()
        # Copied: the map can be read only, and what torch gets it may write to.
        return Cut(np.array(frame)[None], lungs.view(np.bool_)[None], (y_mm, x_mm))

    def check_frame(self, frame: Frame) -> None:
        """Refuse a frame that slices were not cut to.

        Raises:
            UsageError: naming what differs.
        """
        ours, theirs = self.frame.model_dump(mode="json"), frame.model_dump(mode="json")
        other = [f"frame.{key}={ours[key]}" for key in ours if ours[key] != theirs[key]]
        if other:
            raise UsageError(
                f"{self.folder.name}: its slices were cut with {', '.join(other)}, and the "
                f"configuration says otherwise. Set the same with --set, or pack the store again."
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "paths": self._paths}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A map would be sent as the bytes of the whole file.
        self.__init__(  # type: ignore[misc]
            state["folder"], [(part, _checked(part)) for part in state["paths"]]
        )


def write_pack(store: Store, path: Path, packing: Packing) -> Iterator[Path]:
    """Write a store's slices into a file, or into parts `-00001-of-0000N`, and name each.

    Raises:
        UsageError: when no slice fits a part.
        CovidsslError: when the disk is full; no part is left half-written.
    """
    ranges = list(_ranges(store, packing))
    frame = packing.frame.model_dump_json()
    fingerprint = store.fingerprint
    if packing.bits == 8:
        fingerprint = digest(f"{fingerprint} 8 bits")
    ends = [places.stop for places in ranges]
    notes = {
        "format": FORMAT,
        "id": digest(f"{_REVISION} {fingerprint} {frame} {packing.bits} {ends}"),
        "frame": frame,
        "pixels": str(store.pixels),
        "fingerprint": fingerprint,
        "slices_dropped": str(store.slices_dropped),
        "parts": str(len(ranges)),
    }
    for number, places in enumerate(ranges, start=1):
        file = path
        if packing.most_bytes is not None:
            file = path.with_name(f"{path.stem}-{number:05d}-of-{len(ranges):05d}{SUFFIX}")
        own = {"part": str(number), "first": str(places.start)}
        _write_part(store, file, places, packing, notes | own)
        yield file


def parts_beside(path: Path) -> list[Path]:
    """The parts that a pack of this name has, in their order."""
    stem = path.name.removesuffix(SUFFIX)
    entries = path.parent.iterdir() if path.parent.is_dir() else iter(())
    found = ((entry, _PART.fullmatch(entry.name)) for entry in entries)
    return sorted(entry for entry, match in found if match and match["stem"] == stem)


def remove_leftovers(path: Path) -> None:
    """Take away what killed runs left half-written of a pack of this name."""
    stem = re.escape(path.name.removesuffix(SUFFIX))
    left = re.compile(rf"\.{stem}(-\d{{5}}-of-\d{{5}})?\.safetensors\.\d+\.part.*")
    entries = path.parent.iterdir() if path.parent.is_dir() else iter(())
    for entry in [entry for entry in entries if left.fullmatch(entry.name)]:
        entry.unlink(missing_ok=True)


def _ranges(store: Store, packing: Packing) -> Iterator[range]:
    size, count = packing.frame.size, len(store.slices)
    if packing.most_bytes is None:
        yield range(count)
        return
    longest = max((len(name.encode()) for name in store.slices.scan_names()), default=0)
    row = size * size * packing.bits // 8 + size * -(-size // 8) + _INDEX_BYTES + longest
    rows = (packing.most_bytes - _HEADER_BYTES) // row
    if rows < 1:
        raise UsageError(
            f"--split: a slice takes {row / 2**20:.2f} MiB, and a part may have "
            f"{packing.most_bytes / 2**20:.2f}. Allow larger parts, or a smaller --size."
        )
    for first in range(0, count, rows):
        yield range(first, min(first + rows, count))


def _write_part(
    store: Store, path: Path, places: range, packing: Packing, notes: dict[str, str]
) -> None:
    size = packing.frame.size
    columns = _columns(store.slices, places)
    dtype = np.uint16 if packing.bits == 16 else np.uint8
    shapes = {name: Shape(column.dtype, column.shape) for name, column in columns.items()} | {
        "frames": Shape(dtype, (len(places), size, size)),
        "lungs": Shape(np.uint8, (len(places), size, -(-size // 8))),
        "pixel_mm": Shape(np.float32, (len(places), 2)),
    }
    with new_tensors(path, shapes, notes) as arrays:
        for name, column in columns.items():
            arrays[name][...] = column
        for row, place in enumerate(places):
            frame, lungs, pixel_mm = cut(store, store.slices[place], packing.frame)
            if packing.bits == 8:
                frame = np.rint(frame / _STEP).astype(np.uint16)
            arrays["frames"][row] = frame[0]
            arrays["lungs"][row] = np.packbits(lungs[0], axis=-1)
            arrays["pixel_mm"][row] = pixel_mm


def _columns(slices: StoredSlices, places: range) -> dict[str, NDArray[Any]]:
    """The index of some slices alone, their scans numbered anew."""
    chosen = slices.chosen(places)
    scans, numbers = np.unique(chosen["slice_scan"], return_inverse=True)
    names = [slices.scan_name(int(scan)).encode() for scan in scans]
    columns = {name: slices.columns[name][scans] for name in _PER_SCAN}
    columns |= {name: chosen[name] for name in _PER_SLICE}
    columns["slice_scan"] = numbers.astype(np.uint32)
    columns["names"] = np.frombuffer(b"".join(names), dtype=np.uint8)
    columns["name_ends"] = np.cumsum([len(name) for name in names], dtype=np.int64)
    return columns


def _joined(parts: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    columns = {
        name: np.concatenate([part[name] for part in parts])
        for name in (*_PER_SCAN, *_PER_SLICE, "names")
    }
    scans = np.cumsum([0, *(len(part["name_ends"]) for part in parts)])
    texts = np.cumsum([0, *(len(part["names"]) for part in parts)])
    pairs = list(zip(parts, scans, texts, strict=False))
    columns["slice_scan"] = np.concatenate([part["slice_scan"] + first for part, first, _ in pairs])
    columns["name_ends"] = np.concatenate([part["name_ends"] + first for part, _, first in pairs])
    return columns


def _paths_of(path: Path) -> list[Path]:
    match = _PART.fullmatch(path.name)
    if match:
        path = path.with_name(f"{match['stem']}{SUFFIX}")
    elif path.is_file():
        return [path]
    found = parts_beside(path)
    if not found:
        raise DataError(f"{path.name}: there is no such pack, nor parts of it; make one with pack.")
    return found


def _check_order(files: Sequence[tuple[Path, TensorFile]]) -> None:
    start = 0
    for part, file in files:
        if file.notes.get("first") != str(start):
            raise DataError(
                f"{part.name}: begins with slice {file.notes.get('first')} of the pack, expected "
                f"{start}. Keep the parts' names as they were written, or pack again."
            )
        start += len(file.arrays["frames"])


def _checked(path: Path) -> TensorFile:
    file = map_tensors(path)
    if file.notes.get("format") != FORMAT or not {"frames", "lungs", "pixel_mm"} <= set(
        file.arrays
    ):
        raise DataError(
            f"{path.name}: is no pack of this version ({FORMAT}). Pack the store again."
        )
    return file
