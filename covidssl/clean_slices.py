"""The slices of a prepared store as the pretext sees them: cut to frames once, then kept."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from covidssl.box import Box
from covidssl.errors import DataError, UsageError
from covidssl.frames import Frame, frame_mask, frame_pixels
from covidssl.pretext import CleanSlices
from covidssl.store import Store

_KEPT_BYTES = 4 * 2**30


def spread_places(stored: int, wanted: int) -> tuple[int, ...]:
    """Up to `wanted` different places, spread evenly over `stored` slices; the ends are in."""
    places = np.unique(np.linspace(0, stored - 1, wanted).round().astype(int))
    return tuple(int(place) for place in places)


class StoredFrames(Dataset[CleanSlices]):
    """Clean slices of a store as frames; item `k` is the same whoever asks, in whatever order."""

    def __init__(self, store: Store, frame: Frame) -> None:
        if not store.slices:
            raise DataError(
                "The store holds no slice with enough lung; look at its manifest.csv, or prepare "
                "it with a lower min_lung_share."
            )
        if store.pixels is not frame.pixels:
            raise UsageError(
                f"{store.folder}: holds '{store.pixels}' pixels and the configuration says "
                f"'{frame.pixels}': --set frame.pixels={store.pixels}"
            )
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
        row = self.store.slices[index]
        pixels, lungs = self.store.read(row)
        found = Box(*row.box)
        box = self.frame.box(found, *pixels.shape)
        frames = frame_pixels(pixels[None], row.pixels, box, self.frame)
        mask = frame_mask(lungs[None], box, self.frame)
        size_mm = self.frame.pixel_mm(box, found, row.spacing_mm)
        return CleanSlices(torch.from_numpy(frames), torch.from_numpy(mask), torch.tensor(size_mm))
