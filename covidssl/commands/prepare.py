"""`covidssl prepare`: files and folders of CT in, a prepared store out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from covidssl.commands.progress import track
from covidssl.experiments import PrepareConfig
from covidssl.io import find_scans
from covidssl.preparing import StoreOptions, StoreWriter
from covidssl.runs import IfExists, RunFolder
from covidssl.store import Store

log = logging.getLogger(__name__)


def main(
    config: PrepareConfig, inputs: Sequence[Path], out: Path, if_exists: IfExists = "refuse"
) -> dict[str, int]:
    """Prepare every scan found in `inputs`; gives how many came out how.

    Raises:
        CovidsslError: when there is no CT, an output exists, or the disk is full.
    """
    found = find_scans(inputs)
    for suffix, count in found.ignored.items():
        log.info("%d files '%s' are no CT and were ignored.", count, suffix)
    options = StoreOptions(min_lung_share=config.min_lung_share, pixels=config.pixels)
    with RunFolder(out, "prepare", config, if_exists) as run:
        writer = StoreWriter.create(out, options, resume=True)
        for scan in track(found.scans, "preparing", len(found.scans)):
            writer.add(scan)
        store = writer.finish()
        counts = _counts(store)
        run.done = False  # a store that was finished may have grown
        run.note(
            data={"store": store.fingerprint},
            summary={
                "scans": len(store.manifest),
                **counts,
                "slices with enough lung": len(store.slices),
                "slices with little lung left out": store.slices_dropped,
                "files ignored": sum(found.ignored.values()),
            },
        )
    return counts


def _counts(store: Store) -> dict[str, int]:
    counts = Counter(row.status for row in store.manifest)
    return {status: counts[status] for status in ("ok", "warned", "dropped", "failed")}
