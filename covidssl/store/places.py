"""Where a store lies: a folder of this machine, or an address that fsspec knows (`s3://`)."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError, UsageError

_OPEN_FILES = 256


class Place(Protocol):
    """Files below a store's root.

    Attributes:
        root: for messages.
        local: whether a listing is cheap, and files can be mapped.
    """

    local: bool

    @property
    def root(self) -> PurePath: ...

    def read(self, file: str) -> bytes | None:
        """A whole file; None when there is none."""

    def part(self, file: str, start: int, length: int) -> bytes:
        """Bytes of a file; fewer where it is shorter.

        Raises:
            FileNotFoundError: when there is none.
            DataError: when it is no longer the file that was read from before.
        """

    def sizes(self, *files: str) -> tuple[int, ...]:
        """Lengths of files in bytes, -1 for one that is not there."""

    def entries(self, folder: str) -> set[str]:
        """Names of what is in a folder; none when there is no such folder."""

    def array(self, file: str) -> NDArray[np.uint8] | None:
        """A whole file's bytes, mapped where that can be; None when there is none."""

    def close(self) -> None:
        """Close what is open."""


def place_of(address: Path | str) -> Place:
    """The place of a path or an address such as `s3://bucket/store`."""
    text = str(address)
    if isinstance(address, str) and "://" in text:
        return RemotePlace(text)
    return LocalPlace(Path(address))


def renewed(name: str) -> DataError:
    """What to say of a store that was written again while it was open."""
    return DataError(f"{name}: the store was prepared anew since it was opened; open it again.")


class LocalPlace:
    """A folder of this machine; some files are kept open."""

    local = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open: OrderedDict[str, int] = OrderedDict()
        self._seen: dict[str, tuple[int, int]] = {}

    def read(self, file: str) -> bytes | None:
        try:
            return (self.root / file).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def part(self, file: str, start: int, length: int) -> bytes:
        number = self._open.get(file)
        if number is None:
            number = self._opened(file)
        else:
            self._open.move_to_end(file)
        return os.pread(number, length, start)

    def sizes(self, *files: str) -> tuple[int, ...]:
        paths = [self.root / file for file in files]
        return tuple(path.stat().st_size if path.is_file() else -1 for path in paths)

    def entries(self, folder: str) -> set[str]:
        try:
            with os.scandir(self.root / folder) as found:
                return {entry.name for entry in found}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def array(self, file: str) -> NDArray[np.uint8] | None:
        path = self.root / file
        return np.memmap(path, dtype=np.uint8, mode="r") if path.is_file() else None

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def _opened(self, file: str) -> int:
        number = os.open(self.root / file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._open[file] = number
        state = os.fstat(number)
        seen = (state.st_ino, state.st_mtime_ns)
        if self._seen.setdefault(file, seen) != seen:
            raise renewed(self.root.name)
        while len(self._open) > _OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        return number

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "_open": OrderedDict(), "_seen": {}}

    def __del__(self) -> None:
        self.close()


class RemotePlace:
    """A folder behind an address, read by ranges of bytes."""

    local = False

    def __init__(self, address: str) -> None:
        self._address = address
        self._process, self._connection = -1, None
        _, path = self._connect()
        self.root = PurePosixPath(path.rstrip("/"))
        self._path = path.rstrip("/")

    @property
    def _files(self) -> Any:
        if self._process != os.getpid():
            # What connects, in threads of its own, does not come along into a forked process.
            import fsspec

            fsspec.asyn.reset_lock()
            self._connect(afresh=True)
        return self._connection

    def _connect(self, afresh: bool = False) -> tuple[Any, str]:
        import fsspec

        try:
            self._connection, path = fsspec.core.url_to_fs(
                self._address, skip_instance_cache=afresh
            )
        except ImportError as error:
            raise UsageError(
                f"{self._address}: a package that this address needs is not installed ({error}). "
                f"For s3://: pip install 'covidssl[s3]'."
            ) from None
        except ValueError as error:
            raise UsageError(
                f"{self._address}: is no address that can be read ({error})."
            ) from None
        self._process = os.getpid()
        return self._connection, path

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connection": None, "_process": -1}

    def read(self, file: str) -> bytes | None:
        try:
            content: bytes = self._files.cat_file(f"{self._path}/{file}")
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._unreachable(error) from error
        return content

    def part(self, file: str, start: int, length: int) -> bytes:
        try:
            content: bytes = self._files.cat_file(
                f"{self._path}/{file}", start=start, end=start + length
            )
        except FileNotFoundError:
            raise
        except Exception as error:
            raise self._unreachable(error) from error
        return content

    def sizes(self, *files: str) -> tuple[int, ...]:
        known = [self._files.info(f"{self._path}/{file}")["size"] for file in files]
        return tuple(known)

    def entries(self, folder: str) -> set[str]:
        try:
            # The listing of an earlier look would hide what has come since.
            self._files.invalidate_cache()
            found = self._files.ls(f"{self._path}/{folder}", detail=False)
        except FileNotFoundError:
            return set()
        except Exception as error:
            raise self._unreachable(error) from error
        return {name.rstrip("/").rpartition("/")[2] for name in found}

    def array(self, file: str) -> NDArray[np.uint8] | None:
        content = self.read(file)
        return None if content is None else np.frombuffer(content, dtype=np.uint8)

    def close(self) -> None:
        pass

    def _unreachable(self, error: Exception) -> DataError:
        # Its text may hold an address with a signature, or worse.
        return DataError(
            f"{self.root.name}: the store could not be read from its address "
            f"({type(error).__name__}). Check the address, the network and the credentials."
        )
