"""`covidssl download`: the files of a public set that can be had without a login."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from covidssl.downloads import (
    Patience,
    PublicSet,
    RemoteFile,
    catalogue,
    choose,
    fetch,
    find_set,
    left_to_fetch,
    refuse_full_disk,
    resolve,
    size_at,
)
from covidssl.downloads.resuming import Progress

log = logging.getLogger(__name__)

_QUIET_SECONDS = 60.0


@dataclass(frozen=True)
class Offer:
    """What would be fetched, to be shown before anything is.

    Attributes:
        name: of the set.
        public: what is known of it.
        files: those chosen.
        sizes: bytes of each by name, as published or as its server says.
        folder: where they go.
    """

    name: str
    public: PublicSet
    files: tuple[RemoteFile, ...]
    sizes: Mapping[str, int | None]
    folder: Path

    @property
    def text(self) -> str:
        """The files, their sizes, the licence."""
        lines = [f"{self.name}: {self.public.title}", f"licence: {self.public.licence}"]
        lines += [f"  {name}  {in_bytes(size)}" for name, size in self.sizes.items()]
        return "\n".join([*lines, f"into {self.folder}"])


def listing() -> list[tuple[str, str, str, str]]:
    """Name, licence, size and way of every set."""
    return [
        (name, one.licence, one.size, "by command" if one.by_command else "by hand")
        for name, one in catalogue().items()
    ]


def offer(name: str, out: Path | None, patterns: Sequence[str] = ()) -> Offer:
    """Look up what a set consists of; asks the servers for sizes, fetches no file.

    Args:
        name: of the set, as in `data/`.
        out: where the files go; None: `data/NAME/raw`.
        patterns: fetch only files whose names match one.

    Raises:
        UsageError: for an unknown set, one to be fetched by hand, a pattern that matches no file.
        CovidsslError: when a repository does not answer.
    """
    public = find_set(name)
    chosen = choose(resolve(public), patterns)
    sizes = {one.name: one.size or size_at(one.url) for one in chosen}
    return Offer(name, public, tuple(chosen), sizes, out or Path("data") / name / "raw")


def main(offered: Offer, patience: Patience | None = None) -> list[Path]:
    """Fetch all files of an offer that was accepted; a run that was stopped is gone on with.

    Raises:
        DataError: when a file is not what was published.
        CovidsslError: when the disk is too small, or a file cannot be fetched now.
    """
    refuse_full_disk(left_to_fetch(offered.sizes, offered.folder), offered.folder)
    paths = []
    for one in offered.files:
        # A checksum says more than a length that was asked for beforehand.
        size = one.size if one.hash else offered.sizes[one.name]
        file = one.model_copy(update={"size": size})
        with _watched(file.name) as progress:
            paths.append(fetch(file, offered.folder, progress, patience))
        log.info("%s is here.", file.name)
    return paths


def in_bytes(size: int | None) -> str:
    """A size to be read: `1.2 GB`."""
    if size is None:
        return "size not said"
    for unit, bytes_each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= bytes_each:
            return f"{size / bytes_each:.1f} {unit}"
    return f"{size} bytes"


@contextmanager
def _watched(name: str) -> Iterator[Progress]:
    """A bar in a terminal, a line a minute in a pipe."""
    if sys.stderr.isatty():
        with _bar(name) as progress:
            yield progress
        return
    last = time.monotonic()

    def line(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= _QUIET_SECONDS:
            log.info("%s: %s of %s", name, in_bytes(done), in_bytes(total))
            last = time.monotonic()

    yield line


@contextmanager
def _bar(name: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bars(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
