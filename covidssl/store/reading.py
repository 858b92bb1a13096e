"""Reading a store: a slice costs one read of the voxels and one of the mask, wherever it lies."""

from __future__ import annotations

from collections import Counter, OrderedDict
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.hounsfield import Pixels
from covidssl.manifest import NAME as MANIFEST
from covidssl.manifest import STATUSES, ManifestRow
from covidssl.store.index import StoredSlice
from covidssl.store.opening import Contents, Rows, contents_of
from covidssl.store.places import Place, place_of, renewed
from covidssl.store.record import digest, group_of
from covidssl.store.shards import damaged, index_bytes, read_chunk, read_index
from covidssl.store.zarr_scan import LUNGS, PIXELS, SHARD

_INDEXES = 4096
_KINDS: dict[Pixels, np.dtype[Any]] = {
    Pixels.HU: np.dtype("<i2"),
    Pixels.WINDOWED: np.dtype("|u1"),
}


class SlicePixels(NamedTuple):
    """One slice: `array` (Y, X) int16 HU or uint8 grey values, and `lungs` (Y, X) bool."""

    array: NDArray[Any]
    lungs: NDArray[np.bool_]


class Corner(NamedTuple):
    """The first voxel of a patch in its scan."""

    z: int
    y: int
    x: int


class Store:
    """A prepared store, for reading slices one at a time.

    Attributes:
        slices: the slices with enough lung, in order of scan and place.
        fingerprint: changes with any voxel, mask or least share of lung.
        rows: gives the rows of the manifest.
        missing: names of the scans that were planned and are not there; of a whole store, none.
    """

    def __init__(self, place: Place, contents: Contents) -> None:
        self.slices, self.fingerprint, self.rows, self.missing = contents
        self._place = place
        self._indexes: OrderedDict[str, NDArray[np.uint64]] = OrderedDict()

    @classmethod
    def open(cls, address: Path | str, partial: bool = False) -> Store:
        """Open a store.

        Args:
            address: a folder, or an address that fsspec knows, such as `s3://bucket/store`.
            partial: take what is whole of an unfinished or damaged store; `missing` names the rest.

        Raises:
            DataError: when there is no store of this format; also, unless `partial`, when it is
                unfinished or scans are missing: it says how many.
        """
        place = place_of(address)
        return cls(place, contents_of(place, partial))

    @property
    def folder(self) -> PurePath:
        """Where the store lies, as a path for messages."""
        return self._place.root

    @cached_property
    def manifest(self) -> tuple[ManifestRow, ...]:
        """A row for every scan that was found; read when it is first asked for.

        Raises:
            DataError: when the table was changed and does not fit any more.
        """
        return self.rows()

    @property
    def pixels(self) -> Pixels:
        """The one kind of pixel that the store holds.

        Raises:
            DataError: when it holds both kinds: choose with `of_kind`; when it holds no slice.
        """
        kinds = sorted(self.slices.kinds()) if len(self.slices) else []
        if not kinds:
            raise DataError(self.why_empty())
        if len(kinds) > 1:
            raise DataError(
                f"{self.folder.name}: holds {' and '.join(kinds)}; training needs one kind of "
                f"pixel. Prepare the scans of each kind into a store of their own."
            )
        return kinds[0]

    def why_empty(self) -> str:
        """What is to be said of a store without a slice: what became of its scans, and where."""
        counts = Counter(row.status for row in self.manifest)
        told = ", ".join(f"{counts[name]} {name}" for name in STATUSES if counts[name])
        thin = "dropped" in counts
        return (
            f"{self.folder}: not one scan of this store can be used ({told or 'none was found'}). "
            f"Why, scan by scan, stands in {self.folder / MANIFEST}."
            f"{' Dropped scans show too little lung: min_lung_share is the least.' if thin else ''}"
        )

    @property
    def slices_dropped(self) -> int:
        """How many slices were read but are not listed, since they show too little lung."""
        read = sum(row.slices or 0 for row in self.manifest)
        return read - sum(row.slices_with_lung or 0 for row in self.manifest if row.stored)

    def of_kind(self, pixels: Pixels) -> Store:
        """The same store with the scans of one kind of pixel alone."""
        rows = tuple(row for row in self.manifest if row.pixels in ("", pixels))
        fingerprint = digest(f"{self.fingerprint} {pixels}")
        chosen = Contents(self.slices.of_kind(pixels), fingerprint, Rows(rows), self.missing)
        return Store(self._place, chosen)

    def read(self, stored: StoredSlice) -> SlicePixels:
        """The voxels and lungs of one slice; the rest of the scan is not read.

        Raises:
            DataError: when the store does not hold it, or its file is gone or damaged.
        """
        _, height, width = self._shape(stored)
        array = np.empty((height, width), dtype=_KINDS[stored.pixels])
        packed = np.empty((height, -(-width // 8)), dtype=np.uint8)
        for which, out in ((PIXELS, array), (LUNGS, packed)):
            chunk = self._chunks(stored, which, stored.index, stored.index + 1)
            read_chunk(chunk[0], out, stored.scan)
        return SlicePixels(array, _unpacked(packed, width))

    def read_patch(
        self, stored: StoredSlice, corner: Corner, edges: tuple[int, int, int]
    ) -> SlicePixels:
        """Voxels and lungs of a box of a scan, (Z, Y, X) each; its slices come in one read.

        Args:
            stored: any slice of the scan.
            corner: its first voxel.
            edges: in voxels (z, y, x).

        Raises:
            DataError: when the scan does not reach so far, or its file is gone or damaged.
        """
        shape = self._shape(stored)
        ends = [first + edge for first, edge in zip(corner, edges, strict=True)]
        if min(corner) < 0 or any(end > most for end, most in zip(ends, shape, strict=True)):
            raise DataError(f"{stored.scan}: has {shape} voxels; a patch ends at {tuple(ends)}.")
        array = np.empty(edges, dtype=_KINDS[stored.pixels])
        lungs = np.empty(edges, dtype=np.bool_)
        rows, columns = slice(corner.y, ends[1]), slice(corner.x, ends[2])
        whole = np.empty(shape[1:], dtype=array.dtype)
        packed = np.empty((shape[1], -(-shape[2] // 8)), dtype=np.uint8)
        voxels = self._chunks(stored, PIXELS, corner.z, ends[0])
        masks = self._chunks(stored, LUNGS, corner.z, ends[0])
        for place, (chunk, mask) in enumerate(zip(voxels, masks, strict=True)):
            read_chunk(chunk, whole, stored.scan)
            read_chunk(mask, packed, stored.scan)
            array[place] = whole[rows, columns]
            lungs[place] = _unpacked(packed[rows], shape[2])[:, columns]
        return SlicePixels(array, lungs)

    def close(self) -> None:
        """Close the files that reading has opened."""
        self._place.close()

    def _shape(self, stored: StoredSlice) -> tuple[int, int, int]:
        if self.slices.scan_name(stored.number) != stored.scan:
            raise DataError(f"{self.folder.name}: holds no scan '{stored.scan}'.")
        slices, height, width = self.slices.columns["shape"][stored.number].tolist()
        return slices, height, width

    def _chunks(self, stored: StoredSlice, which: str, first: int, last: int) -> list[bytes]:
        """The encoded chunks of neighbouring slices, which lie one after another."""
        file = f"{group_of(stored.scan)}/{which}/{SHARD}"
        try:
            index = self._indexes.get(file)
            if index is None:
                index = self._index(stored, which, file)
            else:
                self._indexes.move_to_end(file)
            offsets = index[first:last].astype(np.int64).tolist()
            begin, end = offsets[0][0], sum(offsets[-1])
            content = self._place.part(file, begin, end - begin)
        except (FileNotFoundError, OverflowError):
            raise damaged(f"{self.folder.name}: '{stored.scan}'") from None
        return [content[at - begin : at - begin + length] for at, length in offsets]

    def _index(self, stored: StoredSlice, which: str, file: str) -> NDArray[np.uint64]:
        slices = self._shape(stored)[0]
        name = f"{self.folder.name}: '{stored.scan}'"
        content = self._place.part(file, 0, index_bytes(slices))
        index = read_index(content, slices, name)
        sizes = self.slices.columns["sizes"][stored.number]
        if index.sum(axis=1).max() != sizes[(PIXELS, LUNGS).index(which)]:
            raise renewed(name)
        self._indexes[file] = index
        while len(self._indexes) > _INDEXES:
            self._indexes.popitem(last=False)
        return index

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_indexes": OrderedDict()}


def _unpacked(packed: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    return np.unpackbits(packed, axis=-1, count=width).view(np.bool_)
