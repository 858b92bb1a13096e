"""Where scans are read: here, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from covidssl.errors import UsageError
from covidssl.io import ScanFiles
from covidssl.preparing.local import on_this_machine
from covidssl.preparing.one_scan import Job, prepare_scan
from covidssl.store.record import ScanRecord

Kind = Literal["local", "ray"]


@dataclass(frozen=True)
class Engine:
    """Where scans are read.

    Attributes:
        kind: `local`, or `ray` for a cluster whose machines share the folders.
        workers: how many scans are worked on at a time.
    """

    kind: Kind = "local"
    workers: int = 1


def records_of(scans: Sequence[ScanFiles], job: Job, engine: Engine) -> Iterator[ScanRecord]:
    """What became of every scan, as they come out.

    Raises:
        CovidsslError: as `prepare_scan`; also when the engine is not installed.
    """
    if not scans:
        return
    if engine.kind == "ray":
        try:
            from covidssl.preparing.cluster import on_ray
        except ImportError as error:
            raise UsageError(
                f"--engine ray: Ray is not installed ({error}): pip install 'covidssl[ray]'."
            ) from None
        yield from on_ray(scans, job, engine.workers)
    elif engine.workers > 1:
        yield from on_this_machine(scans, job, min(engine.workers, len(scans)))
    else:
        for scan in scans:
            yield prepare_scan(scan, job)
