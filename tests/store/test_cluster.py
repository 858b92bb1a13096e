"""Two machines of a Ray cluster, one of them lost in mid-run, give the store of one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from covidssl.errors import UsageError
from covidssl.io import find_scans
from covidssl.preparing import Engine, Job, StoreOptions, StoreWriter, prepare_store, records_of
from tests.ray_clusters import two_machines
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_png
from tests.store.stores import prepare

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402 (Ray may be absent)

from covidssl.preparing.cluster import from_anywhere  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # Ray leaves sockets and files to its processes' ends.
    pytest.mark.filterwarnings("ignore"),
]
COUNT = 40


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with two_machines(monkeypatch, cpus=2) as made:
        yield made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster") / "in"
    for number in range(COUNT):
        write_png(folder / f"{number:02d}.png", chest_grey(64, seed=number))
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_losing_a_machine_in_mid_run_gives_the_same_store(
    cluster: Cluster, source: Path, tmp_path: Path
) -> None:
    whole = prepare(source, tmp_path / "whole")
    job, scans = Job(tmp_path / "out"), find_scans([source]).scans
    with StoreWriter.begin(job, scans) as writer:
        for number, record in enumerate(records_of(writer.todo, job, Engine("ray", 4))):
            writer.keep(record)
            if number == 3:
                (lost,) = cluster.worker_nodes
                cluster.remove_node(lost, allow_graceful=False)
    store = writer.finish()
    assert (store.fingerprint, store.manifest) == (whole.fingerprint, whole.manifest)
    assert [row.status for row in store.manifest].count("failed") == 1
    nodes = [node["Alive"] for node in ray.nodes()]
    assert sorted(nodes) == [False, True]


def test_relative_paths_are_found_from_any_folder_and_mean_the_same_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lps_nifti(tmp_path / "a.nii", chest_hu(3, 96))
    Path("in").mkdir()
    Path("in", "b.nii").symlink_to("../a.nii")
    (tmp_path / "else").mkdir()
    for scan in find_scans([Path("in/b.nii")]).scans:
        sent, stamp = from_anywhere(scan), scan.stamp()
        monkeypatch.chdir(tmp_path / "else")
        assert sent.stamp() == stamp


def test_what_is_given_wrongly_is_refused_as_it_is_here(cluster: Cluster, tmp_path: Path) -> None:
    assert cluster.head_node is not None
    lps_nifti(tmp_path / "in" / "a.nii", chest_hu(3, 96))
    job = Job(tmp_path / "out", StoreOptions(lungs="lungmask"))
    with pytest.raises(UsageError, match="lungmask"):
        prepare_store(job, find_scans([tmp_path / "in"]).scans, engine=Engine("ray", 2))
