"""A folder that one process at a time may work in, where its file system can say so."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from weakref import WeakSet

from covidssl.errors import BusyError

_held: WeakSet[IO[Any]] = WeakSet()


@contextmanager
def alone_in(folder: Path, name: str, refusal: str) -> Iterator[None]:
    """Keep other processes out of a folder; the system lets go of it when this one is killed.

    Args:
        folder: that is there.
        name: of the file in it that is locked; it stays behind.
        refusal: what is said when another process is in it.

    Raises:
        BusyError: when another one is in it.
    """
    if sys.platform == "win32":
        yield  # without locks; an open file would keep the folder from being renamed
        return
    with (folder / name).open("ab") as file:
        if not _locked(file):
            raise BusyError(f"{folder}: {refusal}")
        _held.add(file)
        yield


def _locked(file: IO[bytes]) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have no locks
        pass
    return True


def _let_go_in_child() -> None:
    # Readers outlive a killed run by some seconds, and would keep the folder from the next one.
    for file in list(_held):
        with suppress(OSError):
            file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
