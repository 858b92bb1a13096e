"""Every listed slice of a store as columns in one mapped file: opening costs the same for any size.

Per scan: name, group, pixel kind, shape, lungs' box, spacing, sizes of its files. Per slice: number
of the scan, place in it, share of lung. A `StoredSlice` is made when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from covidssl.box import Box
from covidssl.errors import DataError
from covidssl.hounsfield import Pixels
from covidssl.store.record import SHORT, ScanRecord, short_name
from covidssl.tensor_files import Shape, TensorFile, new_tensors

INDEX = "index.safetensors"
_KINDS = (Pixels.HU, Pixels.WINDOWED)
_SCAN_COLUMNS = {
    "pixels": ("|u1", ()),
    "shape": ("<i4", (3,)),
    "box": ("<i4", (4,)),
    "spacing": ("<f8", (2,)),
    "sizes": ("<i8", (2,)),
    "name_ends": ("<i8", ()),
    "group": ("|u1", (SHORT,)),
}
_SLICE_COLUMNS = {"slice_scan": "<u4", "slice_index": "<i4", "slice_share": "<f8"}


@dataclass(frozen=True)
class StoredSlice:
    """Where one slice lies, and what is known of it without reading it.

    Attributes:
        scan: the scan's name.
        index: the slice's place in the scan, counted from the feet.
        lung_share: lung area / picture area.
        box: of the lungs over the whole scan, in pixels, ends excluded.
        spacing_mm: pixel size (y, x), or None where not known.
        pixels: what the values mean.
        number: the scan's number in the index.
    """

    scan: str
    index: int
    lung_share: float
    box: Box
    spacing_mm: tuple[float, float] | None
    pixels: Pixels
    number: int


def columns_of(records: Sequence[ScanRecord], min_lung_share: float) -> dict[str, NDArray[Any]]:
    """The columns of an index, of records whose slices are listed."""
    names = [record.row.scan.encode() for record in records]
    rows = [record.row for record in records]
    shares = [np.asarray(record.shares, dtype=np.float64) for record in records]
    listed = [np.flatnonzero(of >= min_lung_share) for of in shares]
    nothing = [np.empty(0)]
    values: dict[str, Any] = {
        "pixels": [_KINDS.index(Pixels(row.pixels)) for row in rows],
        "shape": [(row.slices, row.height, row.width) for row in rows],
        "box": [record.box for record in records],
        "spacing": [_spacing(row.spacing_y_mm, row.spacing_x_mm) for row in rows],
        "sizes": [record.sizes for record in records],
        "name_ends": np.cumsum([len(name) for name in names], dtype=np.int64),
        "group": np.frombuffer(
            "".join(short_name(row.scan) for row in rows).encode(), dtype=np.uint8
        ),
        "slice_scan": np.repeat(np.arange(len(records)), [len(places) for places in listed]),
        "slice_index": np.concatenate([*listed, *nothing]),
        "slice_share": np.concatenate(
            [*(of[places] for of, places in zip(shares, listed, strict=True)), *nothing]
        ),
    }
    columns: dict[str, NDArray[Any]] = {
        name: np.asarray(values[name], dtype=kind).reshape(len(records), *shape)
        for name, (kind, shape) in _SCAN_COLUMNS.items()
    }
    for name, kind in _SLICE_COLUMNS.items():
        columns[name] = np.asarray(values[name], dtype=kind)
    columns["names"] = np.frombuffer(b"".join(names), dtype=np.uint8)
    return columns


def _spacing(y_mm: float | None, x_mm: float | None) -> tuple[float, float]:
    return (np.nan, np.nan) if y_mm is None or x_mm is None else (y_mm, x_mm)


def write_index(folder: Path, columns: dict[str, NDArray[Any]], fingerprint: str) -> None:
    """Write `index.safetensors`.

    Raises:
        CovidsslError: when the disk is full.
    """
    shapes = {name: Shape(column.dtype, column.shape) for name, column in columns.items()}
    with new_tensors(folder / INDEX, shapes, {"fingerprint": fingerprint}) as arrays:
        for name, column in columns.items():
            arrays[name][:] = column


def check_index(file: TensorFile, fingerprint: str, name: str) -> dict[str, NDArray[Any]]:
    """The columns of an index's file.

    Raises:
        DataError: when a column is missing, or it is another store's.
    """
    missing = {"names", *_SCAN_COLUMNS, *_SLICE_COLUMNS} - set(file.arrays)
    if missing or file.notes.get("fingerprint") != fingerprint:
        raise DataError(
            f"{name}/{INDEX}: does not belong to this store's store.json. Run prepare with "
            f"--resume."
        )
    return file.arrays


class StoredSlices(Sequence[StoredSlice]):
    """The listed slices of a store, in order of scan and place; made as they are asked for.

    Attributes:
        columns: by name, see `covidssl.store.index`.
    """

    def __init__(
        self, columns: dict[str, NDArray[Any]], chosen: NDArray[np.int64] | None = None
    ) -> None:
        self.columns = columns
        self._chosen = chosen

    def __len__(self) -> int:
        return len(self.columns["slice_scan"] if self._chosen is None else self._chosen)

    @overload
    def __getitem__(self, place: int) -> StoredSlice: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[StoredSlice, ...]: ...

    def __getitem__(self, place: int | slice) -> StoredSlice | tuple[StoredSlice, ...]:
        if isinstance(place, slice):
            return tuple(self[one] for one in range(*place.indices(len(self))))
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        return self._made(place if self._chosen is None else int(self._chosen[place]))

    def __iter__(self) -> Iterator[StoredSlice]:
        return (self[place] for place in range(len(self)))

    @property
    def scan_numbers(self) -> NDArray[np.uint32]:
        """The scan of every slice, as its number in the index."""
        return self._column("slice_scan")

    @property
    def indexes(self) -> NDArray[np.int32]:
        """The place of every slice in its scan."""
        return self._column("slice_index")

    def chosen(self, places: range) -> dict[str, NDArray[Any]]:
        """The columns of the slices at these places."""
        found = slice(places.start, places.stop)
        return {name: self._column(name)[found] for name in _SLICE_COLUMNS}

    def kinds(self) -> tuple[Pixels, ...]:
        """The kinds of pixel that slices have."""
        codes = self.columns["pixels"]
        if self._chosen is not None:
            codes = codes[np.unique(self.scan_numbers)]
        return tuple(_KINDS[code] for code in np.unique(codes))

    def of_kind(self, pixels: Pixels) -> StoredSlices:
        """The slices with one kind of pixel alone."""
        return self._where(self.columns["pixels"] == _KINDS.index(pixels))

    def without(self, scans: Iterable[int]) -> StoredSlices:
        """The slices of all scans but these."""
        keep = np.ones(len(self.columns["pixels"]), dtype=np.bool_)
        keep[list(scans)] = False
        return self._where(keep)

    def lost(self, groups: Iterable[str]) -> NDArray[np.int64]:
        """Numbers of the scans whose group is not among these."""
        there = np.array([name.encode() for name in groups if len(name) == SHORT], f"S{SHORT}")
        own = np.ascontiguousarray(self.columns["group"]).view(f"S{SHORT}").reshape(-1)
        return np.flatnonzero(~np.isin(own, there))

    def scan_names(self) -> Iterator[str]:
        """The names of all scans in the index."""
        return (self.scan_name(number) for number in range(len(self.columns["pixels"])))

    def scan_name(self, number: int) -> str:
        """The name of a scan by its number; empty when there is none of that number."""
        ends = self.columns["name_ends"]
        if not 0 <= number < len(ends):
            return ""
        first = int(ends[number - 1]) if number else 0
        return self.columns["names"][first : int(ends[number])].tobytes().decode()

    def _where(self, keep: NDArray[np.bool_]) -> StoredSlices:
        places = np.flatnonzero(keep[self.columns["slice_scan"]])
        if self._chosen is not None:
            places = np.intersect1d(places, self._chosen)
        return StoredSlices(self.columns, places)

    def _column(self, name: str) -> NDArray[Any]:
        column = self.columns[name]
        return column if self._chosen is None else column[self._chosen]

    def _made(self, place: int) -> StoredSlice:
        columns = self.columns
        number = int(columns["slice_scan"][place])
        y_mm, x_mm = columns["spacing"][number].tolist()
        return StoredSlice(
            scan=self.scan_name(number),
            index=int(columns["slice_index"][place]),
            lung_share=float(columns["slice_share"][place]),
            box=Box(*columns["box"][number].tolist()),
            spacing_mm=None if np.isnan(y_mm) else (y_mm, x_mm),
            pixels=_KINDS[columns["pixels"][number]],
            number=number,
        )
