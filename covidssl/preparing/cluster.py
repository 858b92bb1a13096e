"""Scans on the machines of a Ray cluster, by Ray Data; a machine that is lost is made up for.

All machines see the inputs and the store under the same paths. Writing a scan twice is harmless,
so that Ray may read again whatever a lost machine had.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError

from covidssl.errors import CovidsslError
from covidssl.io import ScanFiles
from covidssl.preparing.one_scan import Job, prepare_scan
from covidssl.store.record import ScanRecord
from covidssl.worker_processes import one_thread

_CPUS = 0.5  # of a task: with whole ones a small cluster has no room left for Ray's own
_SCANS_A_BLOCK = 8
_OBJECT_STORE_BYTES = 128 * 2**20


def on_ray(scans: Sequence[ScanFiles], job: Job, workers: int) -> Iterator[ScanRecord]:
    """What became of every scan, as they come out of the cluster.

    Raises:
        CovidsslError: as `prepare_scan`.
    """
    with connected(workers):
        yield from _mapped(scans, job, workers)


@contextmanager
def connected(workers: int) -> Iterator[None]:
    """Be connected to a Ray cluster, without what it would print.

    The cluster is the one that this process is connected to, or the one of `RAY_ADDRESS`, or a new
    one on this machine alone.

    Args:
        workers: how many cores a new one has.
    """
    ours = not ray.is_initialized()
    if ours:
        # Ray would report to its makers that it is used.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        ray.init(
            num_cpus=None if _is_elsewhere() else max(2, workers),
            object_store_memory=None if _is_elsewhere() else _OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.verbose_progress = False
    # Our own progress is shown; Ray's plans and statistics would stand between its lines.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


def _mapped(scans: Sequence[ScanFiles], job: Job, workers: int) -> Iterator[ScanRecord]:
    masks = None if job.lungs_folder is None else job.lungs_folder.absolute()
    job = replace(job, folder=job.folder.resolve(), lungs_folder=masks)
    items = [{"scan": pickle.dumps(from_anywhere(scan))} for scan in scans]
    blocks = min(len(items), max(4 * workers, -(-len(items) // _SCANS_A_BLOCK)))
    data = ray.data.from_items(items, override_num_blocks=blocks).map(
        partial(_prepared, job), num_cpus=_CPUS
    )
    try:
        for row in data.iter_rows():
            if row["refusal"]:
                raise pickle.loads(row["refusal"])
            yield ScanRecord.from_json(json.loads(row["record"]), "a scan")
    except RayError as error:
        raise CovidsslError(
            f"the Ray cluster gave up ({type(error).__name__}): machines were lost again and "
            f"again, or a scan ended its process each time. What was prepared is kept: go on with "
            f"--resume, and with --engine local where one scan is to blame."
        ) from error


def from_anywhere(scan: ScanFiles) -> ScanFiles:
    """The scan with paths that another process finds, whatever folder it works in."""
    # Not resolved: behind a link the file may have another name, by which the scan is known.
    if scan.archive is not None:
        return replace(scan, archive=scan.archive.absolute())
    return replace(scan, paths=tuple(path.absolute() for path in scan.paths))


def _prepared(job: Job, row: dict[str, Any]) -> dict[str, Any]:
    one_thread()
    try:
        record = prepare_scan(pickle.loads(row["scan"]), job)
    except CovidsslError as error:
        # Sent as a row: what Ray makes of an exception has lost its kind.
        return {"record": "", "refusal": pickle.dumps(error)}
    return {"record": json.dumps(record.as_json()), "refusal": b""}


def _is_elsewhere() -> bool:
    return bool(os.environ.get("RAY_ADDRESS"))
