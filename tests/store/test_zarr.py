"""What is on disk is Zarr v3, and our own reading of it agrees with zarr-python's."""

from __future__ import annotations

import shutil
from array import array
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from covidssl.box import Box
from covidssl.errors import DataError
from covidssl.manifest import ManifestRow
from covidssl.store import ScanRecord, Store, group_of
from covidssl.store.shards import index_bytes, read_chunk, read_index
from covidssl.store.zarr_scan import LUNGS, PIXELS, SHARD, record_on_disk, write_scan
from tests.store.stores import fill, prepare


def record_of(name: str) -> ScanRecord:
    row = ManifestRow(name, "ok", "", "nifti", file=group_of(name))
    return ScanRecord("key", row, "skip", array("d", [0.5]), Box(0, 1, 0, 1), "mask")


def read_by_hand(folder: Path, array: str, like: np.ndarray) -> np.ndarray:
    content = (folder / array / SHARD).read_bytes()
    index = read_index(content[: index_bytes(len(like))], len(like), "scan")
    out = np.empty_like(like)
    for plane, (begin, length) in zip(out, index.tolist(), strict=True):
        read_chunk(content[begin : begin + length], plane, "scan")
    return out


VOLUMES = st.one_of(
    arrays(np.int16, st.tuples(*[st.integers(1, 9)] * 3), elements=st.integers(-1024, 3071)),
    arrays(np.uint8, st.tuples(*[st.integers(1, 9)] * 3)),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VOLUMES)
def test_our_reading_zarrs_reading_and_what_was_written_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, volume: np.ndarray
) -> None:
    folder = tmp_path_factory.mktemp("scan") / "scans" / "a"
    lungs = volume > 5
    written = write_scan(folder, volume, lungs, record_of("a"))
    group = zarr.open_group(str(folder), mode="r")
    assert np.array_equal(group["pixels"][:], volume)
    assert np.array_equal(read_by_hand(folder, PIXELS, volume), volume)
    packed = np.packbits(lungs, axis=-1)
    assert np.array_equal(group["lungs"][:], packed)
    assert np.array_equal(read_by_hand(folder, LUNGS, packed), packed)
    assert record_on_disk(folder) == written
    shutil.rmtree(folder.parent.parent)


def test_any_zarr_reader_gets_the_slices_of_a_store(tmp_path: Path) -> None:
    store = prepare(fill(tmp_path / "in"), tmp_path / "out")
    for stored in store.slices[::3]:
        group = zarr.open_group(str(tmp_path / "out" / group_of(stored.scan)), mode="r")
        array, lungs = store.read(stored)
        assert np.array_equal(group["pixels"][stored.index], array)
        packed = group["lungs"][stored.index]
        assert np.array_equal(np.unpackbits(packed, axis=-1, count=lungs.shape[1]), lungs)
        assert group["pixels"].shards == group["pixels"].shape
        assert group["pixels"].chunks == (1, *array.shape)
        assert group.attrs["covidssl"]["row"]["scan"] == stored.scan


@pytest.mark.parametrize("which", [PIXELS, LUNGS])
@pytest.mark.parametrize("at", [0.001, 0.3, 0.7, 0.999])
def test_a_flipped_bit_is_found(tmp_path: Path, which: str, at: float) -> None:
    store = prepare(fill(tmp_path / "in"), tmp_path / "out")
    file = tmp_path / "out" / group_of("series") / which / SHARD
    content = bytearray(file.read_bytes())
    content[int(at * len(content))] ^= 16
    file.write_bytes(content)
    with pytest.raises(DataError, match="series.*damaged or not whole.*--resume"):  # noqa: PT012
        for stored in store.slices:
            if stored.scan == "series":
                store.read(stored)


@pytest.mark.parametrize("length", [0, 3, 50, -1])
def test_a_file_cut_short_is_found(tmp_path: Path, length: int) -> None:
    prepare(fill(tmp_path / "in"), tmp_path / "out")
    file = tmp_path / "out" / group_of("series") / PIXELS / SHARD
    file.write_bytes(file.read_bytes()[:length])
    store = Store.open(tmp_path / "out")
    last = [stored for stored in store.slices if stored.scan == "series"][-1]
    with pytest.raises(DataError, match="series.*damaged or not whole"):
        store.read(last)


def test_a_file_that_is_gone_is_named_by_its_scan(tmp_path: Path) -> None:
    store = prepare(fill(tmp_path / "in"), tmp_path / "out")
    (tmp_path / "out" / group_of("series") / LUNGS / SHARD).unlink()
    stored = next(stored for stored in store.slices if stored.scan == "series")
    with pytest.raises(DataError, match="'series': this file of the store is damaged"):
        store.read(stored)


def test_a_group_of_something_else_is_no_scan(tmp_path: Path) -> None:
    zarr.create_group(str(tmp_path / "g"), zarr_format=3)
    assert record_on_disk(tmp_path / "g") is None
    assert record_on_disk(tmp_path / "nothing") is None
