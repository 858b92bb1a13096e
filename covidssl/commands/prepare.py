"""`covidssl prepare`: files and folders of CT in, a prepared store out."""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from covidssl.config import load_config
from covidssl.counting import counted
from covidssl.errors import UsageError
from covidssl.experiments import PrepareConfig
from covidssl.files import size_in_words
from covidssl.io import Found, find_scans
from covidssl.manifest import NAME as MANIFEST
from covidssl.manifest import STATUSES, USED
from covidssl.preparing import Engine, Estimate, Job, StoreOptions, StoreWriter, estimated
from covidssl.preparing.writer import fill
from covidssl.progress import track
from covidssl.pseudonyms import Pseudonyms, key_beside
from covidssl.runs import IfExists, RunFolder
from covidssl.store import Store
from covidssl.store.record import ScanRecord

log = logging.getLogger(__name__)

_ALWAYS = ("ok", "warned", "dropped", "failed")


@dataclass(frozen=True)
class How:
    """What changes how a store is made, and not what is in it.

    Attributes:
        engine: where scans are read.
        retry_failed: read scans again that failed before, though nothing has changed.
    """

    engine: Engine = Engine()
    retry_failed: bool = False


def main(
    config: PrepareConfig,
    inputs: Sequence[Path],
    out: Path,
    if_exists: IfExists = "refuse",
    how: How | None = None,
) -> dict[str, int]:
    """Prepare every scan found in `inputs`; gives how many came out how.

    Resuming may change the configuration: what would come out the same is not read again.

    Raises:
        CovidsslError: when there is no CT, an output exists, the disk is full, or the policy is
            strict and scans are defective.
    """
    _check(config)
    if if_exists == "resume":
        _check_names(config, out)
    how = how or How()
    ids = Pseudonyms.from_file(config.ids_key or key_beside(out), config.keep_ids)
    found = _found(config, inputs, ids)
    with RunFolder(out, "prepare", config, if_exists, may_change=True) as run:
        writer = StoreWriter.begin(
            _job(config, out, ids), found.scans, True, how.retry_failed, config.all_series
        )
        store = fill(writer, how.engine, _tracked)
        counts = _counts(store)
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
        if not usable(counts):
            table = out / MANIFEST
            log.error("%s: not one scan can be used. Why, scan by scan, stands in %s.", out, table)
    return counts


def usable(counts: Mapping[str, int]) -> int:
    """How many scans of these can be learnt from."""
    return sum(counts.get(status, 0) for status in USED)


def dry_run(
    config: PrepareConfig, inputs: Sequence[Path], out: Path, how: How | None = None
) -> list[str]:
    """What `main` would do and take, in plain lines; writes nothing that stays.

    Raises:
        CovidsslError: when there is no CT.
    """
    _check(config)
    key = config.ids_key or key_beside(out)
    aside = Pseudonyms(secrets.token_bytes(32), config.keep_ids)
    ids = Pseudonyms.from_file(key, config.keep_ids) if key.exists() else aside
    found = _found(config, inputs, ids)
    workers = (how or How()).engine.workers
    return _lines(estimated(_job(config, out, ids), found.scans, workers, config.all_series))


def _lines(found: Estimate) -> list[str]:
    counts = ", ".join(f"{count} {name}" for name, count in sorted(found.formats.items()))
    lines = [f"found: {counts}"]
    if found.passed_over:
        lines.append(f"passed over for another series of their folder: {found.passed_over}")
    if found.there:
        lines.append(f"prepared already: {found.there}")
    lines.append(f"to read: {found.to_read}")
    if found.seconds is not None and found.disk_bytes is not None:
        time = timedelta(seconds=round(found.seconds))
        lines.append(f"time, from {counted(found.tried, 'scan')} read: {time}")
        size, free = size_in_words(found.disk_bytes), size_in_words(found.free_bytes)
        lines.append(f"disk: {size} of {free} free")
        if found.disk_bytes > found.free_bytes:
            lines.append("It will not fit.")
    return lines


def _check(config: PrepareConfig) -> None:
    if config.lungs_folder is not None and config.hash_paths:
        raise UsageError(
            "--lungs finds masks by the scans' names, and --hash-paths takes those away: give one "
            "of them."
        )
    if config.lungs_folder is not None and not config.lungs_folder.is_dir():
        raise UsageError(f"--lungs {config.lungs_folder}: there is no such folder.")


def _check_names(config: PrepareConfig, out: Path) -> None:
    """Refuse to take back names or identifiers: log, journal and older scans would keep them."""
    if not (out / "config.yaml").is_file():
        return
    before = load_config(PrepareConfig, out / "config.yaml", ())
    if (before.hash_paths, before.keep_ids) != (config.hash_paths, config.keep_ids):
        raise UsageError(
            f"{out}: was begun with other names: --hash-paths {_on(before.hash_paths)}, --keep-ids "
            f"{_on(before.keep_ids)}, and they stand in its log and scans. Give the same, or "
            f"choose another --out."
        )


def _on(flag: bool) -> str:
    return "on" if flag else "off"


def _found(config: PrepareConfig, inputs: Sequence[Path], ids: Pseudonyms) -> Found:
    found = find_scans(inputs, ids if config.hash_paths else None)
    for suffix, count in found.ignored.items():
        log.info("Ignored, since they are no CT: %s '%s'.", counted(count, "file"), suffix)
    return found


def _job(config: PrepareConfig, out: Path, ids: Pseudonyms) -> Job:
    options = StoreOptions(
        min_lung_share=config.min_lung_share,
        pixels=config.pixels,
        policy=config.policy,
        lungs=config.lungs,
    )
    return Job(out, options, ids, config.lungs_folder)


def _tracked(records: Iterable[ScanRecord], count: int) -> Iterable[ScanRecord]:
    return track(records, "preparing", count)


def _counts(store: Store) -> dict[str, int]:
    counts = Counter(row.status for row in store.manifest)
    return {name: counts[name] for name in STATUSES if counts[name] or name in _ALWAYS}
