"""One file over HTTP, so that a lost connection costs only what was lost.

`ResumingDownloader` is a downloader in pooch's sense. pooch's own begins every attempt anew, and a
set of sixty gigabytes would never arrive over a line that drops.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from covidssl.errors import CovidsslError, DataError
from covidssl.files import is_full

if TYPE_CHECKING:
    from requests import Response

log = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]
"""Told the bytes that are here and, where known, those of the whole file."""

_CHUNK_BYTES = 1 << 16
_HEADERS = {"User-Agent": "covidssl", "Accept-Encoding": "identity"}
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


@dataclass(frozen=True)
class Patience:
    """When to give up.

    Attributes:
        attempts: failures in a row; one that has brought bytes begins a new row.
        wait_seconds: before the second of them; doubled before each further one.
        timeout_seconds: silence of the server after which an attempt has failed.
    """

    attempts: int = 6
    wait_seconds: float = 2.0
    timeout_seconds: float = 60.0


class _Notes(BaseModel):
    """What is kept of the answer that a partial file is from, as the server said it."""

    url: str = ""
    etag: str = ""
    modified: str = ""
    total: int | None = None

    @property
    def version(self) -> str:
        """What a server can be asked to go on with: a strong ETag, else a date; or nothing."""
        strong = self.etag and not self.etag.startswith("W/")
        return self.etag if strong else self.modified


class _InterruptedError(Exception):
    """This attempt failed; another may go on from what is there."""


class ResumingDownloader:
    """Fetches into a partial file, goes on from it, and moves it to its place when it is whole.

    The partial file outlives the process: the next run goes on with it, unless the server says
    that the file has changed since, or gives neither a strong ETag nor a date to tell it by.

    Args:
        partial: where the bytes are gathered.
        size: of the whole file, where it is known; a server that offers another is refused.
        progress: told of every chunk.
        patience: when to give up.
    """

    def __init__(
        self,
        partial: Path,
        size: int | None = None,
        progress: Progress | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._partial = partial
        self._size = size
        self._progress = progress
        self._patience = patience or Patience()

    def __call__(
        self,
        url: str,
        output_file: str | os.PathLike[str],
        pooch: Any = None,  # noqa: ARG002 (pooch gives itself)
    ) -> None:
        """Fetch `url` into `output_file`; as pooch calls a downloader.

        Raises:
            DataError: when the file is not there, a web page comes in its stead, its size is
                another one, or the server would go on without encryption.
            CovidsslError: when the connection fails again and again or the disk is full; what has
                come stays in the partial file.
        """
        failures = 0
        while True:
            before = self._here()
            try:
                self._attempt(url)
                break
            except _InterruptedError as fault:
                failures = 1 if self._here() > before else failures + 1
                if failures >= self._patience.attempts:
                    raise CovidsslError(
                        f"{self._name}: {fault}; given up after {failures} in a row. "
                        f"{self._here()} bytes are kept: run again to go on."
                    ) from fault
                log.info("%s: %s; going on from byte %d", self._name, fault, self._here())
                time.sleep(self._patience.wait_seconds * 2 ** (failures - 1))
        Path(self._partial).replace(output_file)
        self._notes.unlink(missing_ok=True)

    @property
    def _name(self) -> str:
        return self._partial.name.removeprefix(".").removesuffix(".part")

    @property
    def _notes(self) -> Path:
        return self._partial.with_name(f"{self._partial.name}.json")

    def _here(self) -> int:
        return self._partial.stat().st_size if self._partial.exists() else 0

    def _attempt(self, url: str) -> None:
        import requests

        self._forget_another(url)
        try:
            with requests.get(
                url,
                headers=_HEADERS | self._range(),
                stream=True,
                timeout=self._patience.timeout_seconds,
            ) as response:
                self._take(response, url)
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            raise _InterruptedError(f"the connection failed ({type(error).__name__})") from error
        except requests.RequestException as error:
            raise DataError(f"{self._name}: cannot be fetched ({type(error).__name__}).") from error

    def _take(self, response: Response, url: str) -> None:
        refuse_answer(response, url, self._name)
        if response.status_code == 416:
            self._check_end(response)
            return
        begin, total = _place_of(response)
        if begin not in (0, self._here()):
            self._partial.unlink()
            raise _InterruptedError(f"the server went on at byte {begin}, which was not asked for")
        self._check_total(total)
        if begin:
            self._refuse_another_version(response, total)
            total = total or self._noted().total
        self._note(url, response, total)
        self._write(response, begin, total or self._size)
        whole = total if total is not None else self._size
        if whole is not None and self._here() != whole:
            raise _InterruptedError(f"the connection ended after {self._here()} of {whole} bytes")

    def _write(self, response: Response, begin: int, total: int | None) -> None:
        done = begin
        try:
            with self._partial.open("ab" if begin else "wb") as partial:
                for chunk in response.iter_content(_CHUNK_BYTES):
                    partial.write(chunk)
                    done += len(chunk)
                    if self._progress is not None:
                        self._progress(done, total)
        except OSError as error:
            if is_full(error):
                raise CovidsslError(
                    f"{self._name}: the disk is full. {self._here()} bytes are kept: free some "
                    f"space and run again to go on."
                ) from error
            raise

    def _check_end(self, response: Response) -> None:
        # Nothing comes after the bytes that are here: they are the whole file, or another one's.
        _, total = _place_of(response)
        self._refuse_another_version(response, total)
        if total == self._here() and self._size in (None, total):
            return
        self._partial.unlink(missing_ok=True)
        raise _InterruptedError("the server's file is shorter than what is here; beginning anew")

    def _check_total(self, total: int | None) -> None:
        if total is not None and self._size is not None and total != self._size:
            raise DataError(
                f"{self._name}: the server offers {total} bytes, expected {self._size}. The file "
                f"has changed at its source; look there."
            )

    def _range(self) -> dict[str, str]:
        if not self._here():
            return {}
        return {"Range": f"bytes={self._here()}-", "If-Range": self._noted().version}

    def _noted(self) -> _Notes:
        try:
            return _Notes.model_validate_json(self._notes.read_bytes())
        except (OSError, ValidationError):
            return _Notes()

    def _note(self, url: str, response: Response, total: int | None) -> None:
        noted = _Notes(url=url, total=total, **_version_of(response))
        self._notes.write_text(noted.model_dump_json(), encoding="utf-8")

    def _forget_another(self, url: str) -> None:
        noted = self._noted()
        # Without a version a server would go on with another file of the same length.
        if self._here() and (noted.url != url or not noted.version):
            self._partial.unlink()

    def _refuse_another_version(self, response: Response, total: int | None) -> None:
        """Not every server heeds If-Range: what it goes on with is held against the notes."""
        noted = self._noted()
        of = _version_of(response)
        said = [(noted.etag, of["etag"]), (noted.modified, of["modified"]), (noted.total, total)]
        if any(before and now and before != now for before, now in said):
            self._partial.unlink()
            raise _InterruptedError("the file has changed at the server; beginning anew")


def size_at(url: str, patience: Patience | None = None) -> int | None:
    """Bytes of the file at `url`, where the server says; fetches none of them."""
    import requests

    timeout = (patience or Patience()).timeout_seconds
    try:
        with requests.head(url, headers=_HEADERS, timeout=timeout, allow_redirects=True) as answer:
            length = answer.headers.get("Content-Length", "")
            # Some servers answer HEAD with a length of nought.
            return (int(length) or None) if answer.ok and length.isdecimal() else None
    except requests.RequestException:
        return None


def refuse_answer(response: Response, url: str, name: str) -> None:
    """Refuse an answer that is not the file.

    Raises:
        DataError: when it never will be.
        _InterruptedError: when the server is only busy.
    """
    if url.startswith("https:") and not response.url.startswith("https:"):
        raise DataError(f"{name}: the server sends on to an address without encryption; refused.")
    status = response.status_code
    if status in _BUSY:
        raise _InterruptedError(f"the server answers {status} {response.reason}")
    if status not in (200, 206, 416):
        raise DataError(
            f"{name}: the server answers {status} {response.reason}. The file has moved, or needs "
            f"a login by now; the set's card in data/ names its source."
        )
    kind = response.headers.get("Content-Type", "")
    if kind.startswith("text/html") and not name.endswith((".html", ".htm")):
        raise DataError(
            f"{name}: the server sends a web page in its stead. The file has moved, or needs a "
            f"login by now; the set's card in data/ names its source."
        )


def _version_of(response: Response) -> dict[str, str]:
    headers = response.headers
    return {"etag": headers.get("ETag", ""), "modified": headers.get("Last-Modified", "")}


def _place_of(response: Response) -> tuple[int, int | None]:
    """First byte of an answer, and the bytes of the whole file where they are said."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code in (206, 416) and found:
        total = None if found[2] == "*" else int(found[2])
        return int(found[1] or 0), total
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None
