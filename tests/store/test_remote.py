"""A store behind an address: the memory of this process, or a real local S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

from covidssl.clean_slices import StoredFrames
from covidssl.commands import pretrain
from covidssl.config import load_config
from covidssl.errors import DataError, UsageError
from covidssl.experiments import PretrainConfig
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.preparing import StoreOptions
from covidssl.store import Store, group_of
from covidssl.store.places import RemotePlace
from covidssl.store.reading import Corner
from tests.store.stores import fill, prepare

BUCKET = "scans"
SMALL = [
    "frame.size=32", "frame.pixels=hu", "encoder.channels=[4,8]", "encoder.groups=2",
    "training.steps=2", "training.batch_size=2", "training.warmup_steps=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    prepare(fill(folder / "in"), folder / "out")
    return folder / "out"


@pytest.fixture
def in_memory(local: Path) -> Iterator[str]:
    files = fsspec.filesystem("memory")
    files.put(str(local), "/stores/ours", recursive=True)
    yield "memory://stores/ours"
    files.store.clear()
    files.pseudo_dirs.clear()


@pytest.fixture(scope="module")
def s3(local: Path) -> Iterator[str]:
    """The store on moto's server, which is asked over HTTP as any S3 is."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(fsspec.config.conf)
    fsspec.config.conf["s3"] = {
        "endpoint_url": f"http://{host}:{port}", "key": "test", "secret": "test"
    }  # fmt: skip
    try:
        files = fsspec.filesystem("s3")
        files.mkdir(BUCKET)
        files.put(f"{local}/", f"{BUCKET}/ours/", recursive=True)
        yield f"s3://{BUCKET}/ours"
    finally:
        fsspec.config.conf.clear()
        fsspec.config.conf.update(before)
        server.stop()


def check_the_same(far: Store, near: Store) -> None:
    assert far.fingerprint == near.fingerprint
    assert far.manifest == near.manifest
    assert list(far.slices) == list(near.slices)
    for stored in near.slices[::4]:
        for one, other in zip(far.read(stored), near.read(stored), strict=True):
            assert np.array_equal(one, other)


def test_a_store_in_memory_reads_as_the_one_on_disk(local: Path, in_memory: str) -> None:
    check_the_same(Store.open(in_memory), Store.open(local))


def test_a_store_on_s3_reads_as_the_one_on_disk(local: Path, s3: str) -> None:
    far, near = Store.open(s3), Store.open(local)
    check_the_same(far, near)
    stored = next(stored for stored in near.slices if stored.scan == "series")
    patch = (stored, Corner(1, 5, 6), (3, 60, 50))
    assert np.array_equal(far.read_patch(*patch).array, near.read_patch(*patch).array)


def test_a_slice_is_read_by_ranges_and_the_rest_of_its_scan_is_not(
    local: Path, in_memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, int]] = []
    part = RemotePlace.part

    def noted(self: RemotePlace, file: str, start: int, length: int) -> bytes:
        asked.append((file, start, length))
        return part(self, file, start, length)

    monkeypatch.setattr(RemotePlace, "part", noted)
    store = Store.open(in_memory)
    slices = [stored for stored in store.slices if stored.scan == "series"]
    for stored in slices:
        store.read(stored)
    shard = f"{group_of('series')}/pixels/c.0.0.0"
    ranges = sorted((start, length) for file, start, length in asked if file == shard)
    assert len(ranges) == 1 + len(slices)  # the index once, then each slice once
    ends = [start + length for start, length in ranges]
    assert [start for start, _ in ranges] == [0, *ends[:-1]]
    assert ends[-1] == (local / shard).stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_pretraining_reads_from_s3_and_gives_the_same(
    local: Path, s3: str, tmp_path: Path, workers: int
) -> None:
    config = load_config(PretrainConfig, None, [*SMALL, f"training.workers={workers}"])
    pretrain.main(config, s3, tmp_path / "far", device="cpu")
    pretrain.main(config, local, tmp_path / "near", device="cpu")
    losses = [
        [line.split(",")[1] for line in (tmp_path / name / "metrics.csv").read_text().split()]
        for name in ("far", "near")
    ]
    assert len(losses[0]) == 3
    assert losses[0] == losses[1]


def test_the_endpoint_may_be_given_by_the_environment(s3: str) -> None:
    code = (
        "import sys; from covidssl.store import Store; print(len(Store.open(sys.argv[1]).slices))"
    )
    environment = {
        **os.environ,
        "FSSPEC_S3_ENDPOINT_URL": fsspec.config.conf["s3"]["endpoint_url"],
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, s3], capture_output=True, text=True, env=environment,
        check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout == "13\n", done.stderr


def test_an_unfinished_store_opens_in_part_from_afar(in_memory: str) -> None:
    files = fsspec.filesystem("memory")
    files.rm(f"/stores/ours/{group_of('two.nii')}", recursive=True)
    part = Store.open(in_memory, partial=True)
    assert part.missing == ("two.nii",)
    assert {stored.scan for stored in part.slices} == {"b/scan.nii.gz", "series"}


@pytest.mark.usefixtures("s3")
def test_what_is_not_there_is_said_plainly() -> None:
    with pytest.raises(DataError, match="is no prepared store"):
        Store.open("memory://nothing/here")
    with pytest.raises(DataError, match="is no prepared store"):
        Store.open(f"s3://{BUCKET}/other")
    with pytest.raises(UsageError, match="nosuch://x: is no address that can be read"):
        Store.open("nosuch://x")


def test_a_server_that_is_gone_is_said_plainly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        fsspec.config.conf, "s3",
        {"endpoint_url": "http://127.0.0.1:9", "key": "a", "secret": "b",
         "config_kwargs": {"retries": {"max_attempts": 1}, "connect_timeout": 1}},
    )  # fmt: skip
    with pytest.raises(DataError, match="could not be read from its address"):
        Store.open("s3://gone/store")


def test_frames_from_afar_travel_to_workers(local: Path, in_memory: str) -> None:
    frame = Frame(size=32, pixels=Pixels.HU)
    near, far = (StoredFrames(Store.open(address), frame) for address in (local, in_memory))
    for one, other in zip(near[5], far[5], strict=True):
        assert torch.equal(one, other)


def test_options_do_not_change_where_a_store_lies(tmp_path: Path, local: Path) -> None:
    store = prepare(local.parent / "in", tmp_path / "s3", StoreOptions(min_lung_share=0.1))
    assert Store.open(str(tmp_path / "s3")).fingerprint == store.fingerprint
