"""The slices of a prepared store as the pretext sees them: cut to frames once, then kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from covidssl.errors import DataError, UsageError
from covidssl.frames import Frame
from covidssl.pack import SUFFIX, Pack, cut
from covidssl.pretext import CleanSlices
from covidssl.store import Store

_KEPT_BYTES = 4 * 2**30


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


class StoredFrames(Dataset[CleanSlices]):
    """Clean slices as frames; item `k` is the same whoever asks, in whatever order."""

    def __init__(self, store: Store | Pack, frame: Frame) -> None:
        if not len(store.slices):
            raise DataError(
                "The store holds no slice with enough lung; look at its manifest.csv, or prepare "
                "it with a lower min_lung_share."
            )
        if store.pixels is not frame.pixels:
            raise UsageError(
                f"{store.folder}: holds '{store.pixels}' pixels and the configuration says "
                f"'{frame.pixels}': --set frame.pixels={store.pixels}"
            )
        if isinstance(store, Pack):
            store.check_frame(frame)
        self.store, self.frame = store, frame
        self._kept: dict[int, CleanSlices] = {}
        self._room = _KEPT_BYTES // (3 * frame.size**2)

    def __len__(self) -> int:
        return len(self.store.slices)

    def __getitem__(self, index: int) -> CleanSlices:
        kept = self._kept.get(index)
        if kept is None:
            kept = self._cut(index)
            if len(self._kept) < self._room:
                self._kept[index] = kept
        return kept

    def spread(self, n: int) -> CleanSlices:
        """A batch of `n` slices spread evenly over the store."""
        items = [self[place] for place in spread_places(len(self), n)]
        return CleanSlices(*(torch.stack(parts) for parts in zip(*items, strict=True)))

    def _cut(self, index: int) -> CleanSlices:
        if isinstance(self.store, Pack):
            frame, lungs, pixel_mm = self.store.at(index)
        else:
            frame, lungs, pixel_mm = cut(self.store, self.store.slices[index], self.frame)
        return CleanSlices(torch.from_numpy(frame), torch.from_numpy(lungs), torch.tensor(pixel_mm))
