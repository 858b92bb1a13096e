"""Reading labelled scans one by one: a bad one is dropped with its reason, the others go on."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_arrays

from covidssl.datasets import LabelledScan
from covidssl.errors import CovidsslError, DataError, ScanError, traced
from covidssl.files import write_bytes
from covidssl.lungs import REVISION
from covidssl.version import __version__

log = logging.getLogger(__name__)

T = TypeVar("T")

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_UNEXPECTED = "unexpected "

Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Wraps an iterable in a progress bar: (items, what, how many)."""

Dropped = tuple[tuple[str, str], ...]
"""Name and reason of every scan that could not be read."""


class Kept(NamedTuple):
    """What a cache file holds: arrays by name, and notes that JSON can hold."""

    arrays: dict[str, NDArray[Any]]
    notes: dict[str, Any]


def no_progress(items: Iterable[Any], _what: str, _count: int) -> Iterable[Any]:
    """Progress that shows nothing."""
    return items


def read_each(
    scans: Sequence[LabelledScan],
    read: Callable[[LabelledScan], T],
    what: str,
    progress: Progress = no_progress,
) -> tuple[list[tuple[LabelledScan, T]], Dropped]:
    """What is read of every scan that can be used, and the others with their reasons.

    Args:
        scans: to read.
        read: one of them.
        what: is done, for the progress.
        progress: shows how far it is.

    Raises:
        DataError: when not one could be read.
        CovidsslError: when the disk is full.
    """
    found: list[tuple[LabelledScan, T]] = []
    dropped: list[tuple[str, str]] = []
    for scan in progress(scans, what, len(scans)):
        try:
            found.append((scan, read(scan)))
        except ScanError as error:
            dropped.append((scan.name, str(error)))
        except CovidsslError:
            raise
        except Exception as error:  # not foreseen, but no reason to lose the other scans
            if isinstance(error, OSError) and error.errno in _NO_SPACE:
                raise
            log.error("%s: dropped: %s", scan.name, traced(error))
            dropped.append((scan.name, f"{_UNEXPECTED}{type(error).__name__}"))
    if not found:
        raise DataError(f"Not one of {len(scans)} scans could be read. First: {dropped[0][1]}")
    return found, tuple(dropped)


def may_be_kept(dropped: Dropped) -> bool:
    """Whether all reasons were foreseen: what was not may go well the next time."""
    return not any(reason.startswith(_UNEXPECTED) for _, reason in dropped)


def key_of(scans: Iterable[LabelledScan], *made_by: object) -> str:
    """A name for what is computed from scans: it changes with their files and with what made it.

    Args:
        scans: that are read; labels do not count.
        made_by: configuration and version of what is computed, such as JSON can hold.
    """
    files = [(scan.name, scan.files.stamp()) for scan in scans]
    text = json.dumps([__version__, REVISION, *made_by, files])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def write_kept(file: Path, kept: Kept) -> None:
    """Write a cache file, whole or not at all."""
    write_bytes(file, save_arrays(kept.arrays, {"notes": json.dumps(kept.notes)}))


def read_kept(file: Path, load: Callable[[Kept], T]) -> T | None:
    """What `load` makes of a cache file; None where there is none, or it cannot be used."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="numpy") as saved:
            notes = json.loads(saved.metadata()["notes"])
            names = saved.keys()
            arrays = {name: saved.get_tensor(name) for name in names}
        return load(Kept(arrays, notes))
    except (SafetensorError, KeyError, ValueError, TypeError):
        log.warning("The cache %s is not readable; it is made again.", file.name)
        return None
