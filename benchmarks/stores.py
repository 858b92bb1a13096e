"""Stores of any number of scans for `benchmarks.store`, and the same slices as others keep them.

A few scans of noisy chests are written once; the others are hard links to them, so that many scans
take the room of few, and are read from memory as a warm disk is.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.box import Box
from covidssl.files import write_json
from covidssl.manifest import ManifestRow, write_manifest
from covidssl.store import FORMAT, RECORD, ScanRecord, group_of
from covidssl.store.index import columns_of, write_index
from covidssl.store.record import fingerprint_of
from covidssl.store.zarr_scan import write_scan


class Size(NamedTuple):
    """Of a store: scans, of which so many are written and not linked, slices a scan, pixels."""

    scans: int
    written: int
    slices: int
    pixels: int


def chest(seed: int, slices: int, pixels: int) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """HU (Z, Y, X) of two lungs in a body, as noisy as a scan of a low dose, and their mask."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : pixels * 1j, -1 : 1 : pixels * 1j].astype(np.float32)
    lungs = (((np.abs(x) - 0.42) / 0.28) ** 2 + (y / 0.5) ** 2) < 1
    flat = np.where(x**2 / 0.81 + y**2 / 0.49 < 1, 40.0, -1000.0).astype(np.float32)
    flat[lungs] = -850.0
    hu = flat + random.normal(0, 25, (slices, pixels, pixels)).astype(np.float32)
    # Outside of the field of view scanners write one number.
    hu[:, x**2 + y**2 > 1] = -1024
    mask = np.broadcast_to(lungs, hu.shape).copy()
    return np.clip(hu, -1024, 3071).astype(np.int16), mask


def write_store(folder: Path, size: Size) -> None:
    """Write a store of synthetic scans."""
    written = [_written(folder, size, seed) for seed in range(min(size.written, size.scans))]
    records = list(written)
    for number in range(len(written), size.scans):
        record = written[number % len(written)]
        name = _name(number)
        _link(folder / record.row.file, folder / group_of(name))
        row = replace(record.row, scan=name, file=group_of(name))
        records.append(replace(record, row=row))
    fingerprint = fingerprint_of(records, 0.0)
    write_manifest(folder, [record.listed(0.0) for record in records])
    write_index(folder, columns_of(records, 0.0), fingerprint)
    write_json(folder / RECORD, {"format": FORMAT, "fingerprint": fingerprint})


def write_as_others(folder: Path, size: Size) -> None:
    """The written scans once more: a .npy a slice, a safetensors file a scan, a .npy a scan."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(size.written):
        hu, lungs = chest(seed, size.slices, size.pixels)
        packed = np.packbits(lungs, axis=-1)
        for index in range(size.slices):
            np.save(folder / f"{seed}-{index}-pixels.npy", hu[index])
            np.save(folder / f"{seed}-{index}-lungs.npy", packed[index])
        save_file({"pixels": hu, "lungs": packed}, folder / f"{seed}.safetensors")
        np.save(folder / f"{seed}.npy", hu)


def _written(folder: Path, size: Size, seed: int) -> ScanRecord:
    hu, lungs = chest(seed, size.slices, size.pixels)
    name = _name(seed)
    row = ManifestRow(
        name, "ok", "", "nifti", pixels="hu", slices=size.slices, height=size.pixels,
        width=size.pixels, fingerprint=str(seed), file=group_of(name),
    )  # fmt: skip
    box, share = Box(0, size.pixels, 0, size.pixels), round(float(lungs.mean()), 6)
    record = ScanRecord("", row, "skip", array("d", (share,) * size.slices), box, str(seed))
    return write_scan(folder / row.file, hu, lungs, record)


def _link(old: Path, new: Path) -> None:
    for path in (old, *sorted(old.rglob("*"))):
        there = new / path.relative_to(old)
        if path.is_dir():
            there.mkdir(parents=True)
        else:
            os.link(path, there)


def _name(number: int) -> str:
    return f"scan-{number:06d}.nii.gz"


class Reader:
    """Random reads from a store and from the others, each with mask, by one process.

    Args:
        folder: holds `store` and, where there are any, `others`.
        size: of the store.
        seed: of the order of the reads.
    """

    def __init__(self, folder: Path, size: Size, seed: int) -> None:
        import zarr

        from covidssl.store import Store

        self.store = Store.open(folder / "store")
        self.size, self.others = size, folder / "others"
        self.random = np.random.default_rng(seed)
        self.groups: dict[str, Any] = {}
        self._open_group = zarr.open_group
        self._root = folder / "store"

    def slice_of_ours(self) -> None:
        """A slice through our own reading."""
        self.store.read(self.store.slices[int(self.random.integers(len(self.store.slices)))])

    def slice_of_zarr(self) -> None:
        """The same through zarr-python, its arrays opened before."""
        scan, index = self._drawn()
        pixels, lungs = self._arrays(scan)
        _unpacked(lungs[index], pixels[index].shape[-1])

    def slice_of_files(self) -> None:
        """A .npy a slice, and another one for its mask."""
        scan, index = self._drawn()
        pixels = np.load(self.others / f"{scan}-{index}-pixels.npy")
        _unpacked(np.load(self.others / f"{scan}-{index}-lungs.npy"), pixels.shape[-1])

    def slice_of_safetensors(self) -> None:
        """A safetensors file a scan, opened before."""
        from safetensors import safe_open

        scan, index = self._drawn()
        name = f"{scan}.safetensors"
        if name not in self.groups:
            self.groups[name] = safe_open(self.others / name, framework="np")
        pixels = self.groups[name].get_slice("pixels")[index]
        _unpacked(self.groups[name].get_slice("lungs")[index], pixels.shape[-1])

    def patch_of_ours(self) -> None:
        """A patch with its mask through our own reading."""
        from covidssl.store.reading import Corner

        scan, corner, edge = self._drawn_corner()
        stored = self.store.slices[scan * self.size.slices]
        self.store.read_patch(stored, Corner(*corner), (edge, edge, edge))

    def patch_of_zarr(self) -> None:
        """The same through zarr-python."""
        scan, (z, y, x), edge = self._drawn_corner()
        pixels, lungs = self._arrays(scan)
        _ = pixels[z : z + edge, y : y + edge, x : x + edge]
        packed = lungs[z : z + edge, y : y + edge]
        _unpacked(packed, self.size.pixels)[:, :, x : x + edge].copy()

    def patch_of_files(self) -> None:
        """A mapped .npy a scan, not compressed and without a mask: what a disk can do."""
        scan, (z, y, x), edge = self._drawn_corner()
        volume = np.load(self.others / f"{scan}.npy", mmap_mode="r")
        volume[z : z + edge, y : y + edge, x : x + edge].copy()

    def _arrays(self, scan: int) -> tuple[Any, Any]:
        name = group_of(_name(scan))
        if name not in self.groups:
            group = self._open_group(str(self._root / name), mode="r")
            self.groups[name] = (group["pixels"], group["lungs"])
        pixels, lungs = self.groups[name]
        return pixels, lungs

    def _drawn(self) -> tuple[int, int]:
        scan, index = self.random.integers((self.size.written, self.size.slices))
        return int(scan), int(index)

    def _drawn_corner(self) -> tuple[int, tuple[int, int, int], int]:
        edge = min(96, self.size.slices, self.size.pixels)
        most = [self.size.slices - edge, self.size.pixels - edge, self.size.pixels - edge]
        z, y, x = (int(corner) for corner in self.random.integers(np.add(most, 1)))
        return int(self.random.integers(self.size.written)), (z, y, x), edge


def _unpacked(packed: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    return np.unpackbits(packed, axis=-1, count=width).view(np.bool_)
