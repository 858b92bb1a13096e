"""Actors on two machines of a Ray cluster, one of them lost in mid-run: every scan, each once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from covidssl.inference.books import Books
from covidssl.inference.engines import Engine
from covidssl.inference.job import Written
from tests.inference.folders import ask, rows_of, write_pictures
from tests.ray_clusters import two_machines

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402 (Ray may be absent)

from covidssl.inference import cluster as actors  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # Ray leaves sockets and files to its processes' ends.
    pytest.mark.filterwarnings("ignore"),
]
COUNT = 60


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with two_machines(monkeypatch, cpus=1) as made:
        yield made


def has_an_actor(machine: Any) -> bool:
    free = ray._private.state.available_resources_per_node()
    return bool(free.get(machine.node_id, {}).get("CPU", 1.0) < 0.5)


def test_losing_a_machine_in_mid_run_loses_no_scan_and_answers_none_twice(
    cluster: Cluster, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = write_pictures(tmp_path / "in", COUNT)
    (scans / "broken.png").write_bytes(b"no picture")
    ask(model, scans, tmp_path / "whole")
    lost: list[Any] = []

    keeping = Books.keep

    def keep_and_lose(self: Books, written: Written) -> None:
        keeping(self, written)
        if len(self.entries) >= 6 and not lost and has_an_actor(*cluster.worker_nodes):
            lost.extend(cluster.worker_nodes)
            cluster.remove_node(lost[0], allow_graceful=False)

    monkeypatch.setattr(Books, "keep", keep_and_lose)
    monkeypatch.setattr(actors, "_CPUS", 0.6)  # so that a machine of one core has one at most
    failed = ask(model, scans, tmp_path / "out", engine=Engine("ray", 2))
    assert failed == 1
    assert len(lost) == 1
    assert sorted(node["Alive"] for node in ray.nodes()) == [False, True]
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "whole")
    lines = (tmp_path / "out" / "journal.jsonl").read_text().splitlines()
    names = [json.loads(line)["scan"] for line in lines]
    assert len(names) == len(set(names)) == COUNT + 1
