"""Two machines of a Ray cluster, in processes of this one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

_MEMORY = 80 * 2**20
_NODE: dict[str, Any] = {"object_store_memory": _MEMORY, "include_dashboard": False}


@contextmanager
def two_machines(monkeypatch: pytest.MonkeyPatch, cpus: int) -> Iterator[Cluster]:
    """A cluster of two machines with so many processors each; this process is connected to it."""
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = Cluster()
    # Ray waits for half a minute before it takes a machine for lost.
    soon: dict[str, Any] = {"health_check_period_ms": 500, "health_check_timeout_ms": 1000,
            "health_check_failure_threshold": 2, "health_check_initial_delay_ms": 0}  # fmt: skip
    first: dict[str, Any] = {"_system_config": soon}
    for options in (first, {}):
        made.add_node(num_cpus=cpus, **_NODE, **options)
    ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
    yield made
    ray.shutdown()
    made.shutdown()
