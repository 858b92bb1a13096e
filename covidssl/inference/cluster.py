"""Scans answered by actors of a Ray cluster, by Ray Data; a machine that is lost is made up for.

All machines see INPUTs, models and output under the same paths. An actor loads the models once.
Answering a scan twice writes the same files twice, so that Ray may give whatever a lost machine had
to another one.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError

from covidssl.answers import Outcome
from covidssl.errors import CovidsslError
from covidssl.inference.job import Job, Written, look, said_of, with_absolute_paths, write
from covidssl.inference.journal import Entry
from covidssl.io import ScanFiles
from covidssl.preparing.cluster import connected, from_anywhere
from covidssl.worker_processes import one_thread

_CPUS = 0.5  # of an actor: with whole ones a small cluster has no room left for Ray's own
_SCANS_A_BLOCK = 4
_TRIES = 4
_MOST_ACTORS = 16


class _Answerer:
    """An actor: the models, loaded once."""

    def __init__(self, job: bytes) -> None:
        one_thread()
        self._job: Job = pickle.loads(job)
        self._predictor = self._job.predictor()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        scan: ScanFiles = pickle.loads(row["scan"])
        try:
            looked = look(scan, self._predictor, self._job.reading)
            written = write(self._job, looked, *said_of(looked, self._predictor))
        except CovidsslError as error:
            # Sent as a row: what Ray makes of an exception has lost its kind.
            return {"written": "", "refusal": pickle.dumps(error)}
        return {"written": json.dumps(asdict(written)), "refusal": b""}


def on_ray(scans: Sequence[ScanFiles], job: Job, workers: int | None) -> Iterator[Written]:
    """What became of every scan, each once, as they come out of the cluster.

    Raises:
        CovidsslError: when the disk is full, or the cluster gave up.
    """
    with connected(workers or 2):
        yield from _mapped(scans, with_absolute_paths(job), workers)


def _mapped(scans: Sequence[ScanFiles], job: Job, workers: int | None) -> Iterator[Written]:
    resources = ray.cluster_resources()
    gpus = 1 if job.device != "cpu" and resources.get("GPU", 0) else 0
    room = resources.get("GPU" if gpus else "CPU", 1)
    actors = min(workers or max(1, min(int(room), _MOST_ACTORS)), len(scans))
    items = [{"scan": pickle.dumps(from_anywhere(scan))} for scan in scans]
    blocks = min(len(items), max(4 * actors, -(-len(items) // _SCANS_A_BLOCK)))
    data = ray.data.from_items(items, override_num_blocks=blocks).map(
        _Answerer,  # type: ignore[arg-type] # Ray's stub knows of functions alone
        fn_constructor_args=(pickle.dumps(job),),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
        num_cpus=_CPUS,
        num_gpus=gpus,
        ray_remote_args_fn=_not_for_ever,
    )
    seen: set[str] = set()
    try:
        for row in data.iter_rows():
            if row["refusal"]:
                raise pickle.loads(row["refusal"])
            written = _written(row["written"])
            if written.entry.scan not in seen:
                seen.add(written.entry.scan)
                yield written
    except RayError as error:
        raise CovidsslError(
            f"the Ray cluster gave up ({type(error).__name__}): machines were lost again and "
            f"again, or a scan ended its actor each time. What was answered is kept: go on with "
            f"--resume, and with --engine local where one scan is to blame."
        ) from error


def _not_for_ever() -> dict[str, Any]:
    """By itself Ray begins an actor again without end, also over a scan that ends it each time."""
    return {"max_restarts": _TRIES, "max_task_retries": _TRIES}


def _written(text: str) -> Written:
    read = json.loads(text)
    entry = {**read["entry"], "codes": tuple(read["entry"]["codes"])}
    return Written(
        Entry(**{**entry, "outcome": Outcome(entry["outcome"])}), read["text"], read["trace"]
    )
