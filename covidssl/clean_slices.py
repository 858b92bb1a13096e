"""A prepared store as the pretext sees it, slices or volumes: cut to frames once, then kept."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from covidssl.box import Region, span_of
from covidssl.errors import DataError, UsageError
from covidssl.frames import (
    Frame,
    mask_planes,
    planes_to_mask,
    planes_to_volume,
    unit_planes,
)
from covidssl.pack import SUFFIX, Pack, cut
from covidssl.pretext import CleanSlices
from covidssl.scan_frames import LEAST_SLICES
from covidssl.store import Store, StoredSlice
from covidssl.store.reading import Corner

_KEPT_BYTES = 4 * 2**30
_AT_ONCE = 32
"""Slices of a scan that are read together: a few, so that a long scan takes little memory."""


def open_slices(address: Path | str, partial: bool = False) -> Store | Pack:
    """Open what training reads: a store, by folder or address, or a pack, by its file.

    Args:
        address: a folder, an address such as `s3://bucket/store`, or a `.safetensors` file.
        partial: take what is whole of an unfinished store.

    Raises:
        DataError: when it is neither, or not whole.
    """
    if str(address).endswith(SUFFIX):
        return Pack.open(Path(address))
    return Store.open(address, partial)


def spread_places(stored: int, wanted: int) -> tuple[int, ...]:
    """Up to `wanted` different places, spread evenly over `stored` slices; the ends are in."""
    places = np.unique(np.linspace(0, stored - 1, wanted).round().astype(int))
    return tuple(int(place) for place in places)


class StoredPictures(Dataset[CleanSlices]):
    """Clean slices or volumes as frames; item `k` is the same whoever asks, in whatever order.

    Attributes:
        words: what they are called.
        frame: how they are cut.
    """

    words = "slices"

    def __init__(self, store: Store | Pack, frame: Frame) -> None:
        if not len(store.slices):
            raise DataError(
                store.why_empty() if isinstance(store, Store) else f"{store.folder}: is empty."
            )
        if store.pixels is not frame.pixels:
            raise UsageError(
                f"{store.folder}: holds '{store.pixels}' pixels and the configuration says "
                f"'{frame.pixels}': --set frame.pixels={store.pixels}"
            )
        self.frame = frame
        self._kept: dict[int, CleanSlices] = {}
        self._room = _KEPT_BYTES // (3 * prod(frame.shape))

    @abstractmethod
    def __len__(self) -> int:
        """How many pictures there are."""

    @property
    @abstractmethod
    def left_out(self) -> int:
        """How many of the store's show too little to learn from."""

    def __getitem__(self, index: int) -> CleanSlices:
        kept = self._kept.get(index)
        if kept is None:
            kept = self._cut(index)
            if len(self._kept) < self._room:
                self._kept[index] = kept
        return kept

    def spread(self, n: int) -> CleanSlices:
        """A batch of `n` pictures spread evenly over the store."""
        items = [self[place] for place in spread_places(len(self), n)]
        return CleanSlices(*(torch.stack(parts) for parts in zip(*items, strict=True)))

    @abstractmethod
    def _cut(self, index: int) -> CleanSlices:
        """Read and cut one picture."""


class StoredFrames(StoredPictures):
    """The slices of a store, or of a pack."""

    def __init__(self, store: Store | Pack, frame: Frame) -> None:
        super().__init__(store, frame)
        if isinstance(store, Pack):
            store.check_frame(frame)
        self.store = store

    def __len__(self) -> int:
        return len(self.store.slices)

    @property
    def left_out(self) -> int:
        return self.store.slices_dropped

    def _cut(self, index: int) -> CleanSlices:
        if isinstance(self.store, Pack):
            frame, lungs, pixel_mm = self.store.at(index)
        else:
            frame, lungs, pixel_mm = cut(self.store, self.store.slices[index], self.frame)
        return CleanSlices(torch.from_numpy(frame), torch.from_numpy(lungs), torch.tensor(pixel_mm))


class StoredVolumes(StoredPictures):
    """The lungs of every scan of a store as one volume, read slice by slice.

    Scans with fewer than 8 slices of lung are left out.
    """

    words = "volumes"

    def __init__(self, store: Store | Pack, frame: Frame) -> None:
        if isinstance(store, Pack):
            raise UsageError(
                f"{store.folder.name}: a pack holds slices, and the configuration asks for volumes "
                f"(frame.depth {frame.depth}): give the prepared store to --data."
            )
        super().__init__(store, frame)
        self.store = store
        numbers, first, counts = np.unique(
            store.slices.scan_numbers, return_index=True, return_counts=True
        )
        self._first = first[counts >= LEAST_SLICES]
        self._too_short = len(numbers) - len(self._first)
        if not len(self._first):
            raise DataError(
                f"{store.folder.name}: not one of {len(numbers)} scans shows lung in "
                f"{LEAST_SLICES} slices or more, so there is no volume to learn from. Single "
                f"slices are learnt from with frame.depth=null and encoder.dimensions=2."
            )

    def __len__(self) -> int:
        return len(self._first)

    @property
    def left_out(self) -> int:
        return self._too_short

    @cached_property
    def _z_mm(self) -> dict[str, float | None]:
        return {row.scan: row.spacing_z_mm for row in self.store.manifest}

    def _cut(self, index: int) -> CleanSlices:
        stored, frame = self.store.slices[int(self._first[index])], self.frame
        planes, masks, shown = self._planes(stored)
        span = span_of(shown)
        lungs = None if span is None else Region(span, stored.box)
        shape = tuple(self.store.slices.columns["shape"][stored.number].tolist())
        region = frame.region(lungs, shape)
        here = slice(region.slices.start, region.slices.stop)
        voxel_mm = frame.voxel_mm(region, lungs, self._z_mm[stored.scan], stored.spacing_mm)
        return CleanSlices(
            torch.from_numpy(planes_to_volume(planes[here], frame))[None],
            torch.from_numpy(planes_to_mask(masks[here], frame))[None],
            torch.tensor(voxel_mm),
        )

    def _planes(
        self, stored: StoredSlice
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """All slices of a scan shrunk to the frame, their masks, and which of them show lung."""
        depth, height, width = self.store.slices.columns["shape"][stored.number].tolist()
        box = self.frame.box(stored.box, height, width)
        size = (depth, self.frame.size, self.frame.size)
        planes, masks = np.empty(size, np.float32), np.empty(size, np.float32)
        shown = np.empty(depth, dtype=np.bool_)
        for first in range(0, depth, _AT_ONCE):
            part = slice(first, min(first + _AT_ONCE, depth))
            edges = (part.stop - first, height, width)
            voxels, lungs = self.store.read_patch(stored, Corner(first, 0, 0), edges)
            planes[part] = unit_planes(voxels, stored.pixels, box, self.frame)
            masks[part] = mask_planes(lungs, box, self.frame)
            shown[part] = lungs.any(axis=(1, 2))
        return planes, masks, shown


def stored_pictures(store: Store | Pack, frame: Frame) -> StoredPictures:
    """What a frame shows of a store: its slices, or its scans as volumes.

    Raises:
        CovidsslError: when the store or pack holds none, or another kind of pixel.
    """
    return StoredFrames(store, frame) if frame.depth is None else StoredVolumes(store, frame)
