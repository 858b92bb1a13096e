"""A server on this machine that behaves as badly as real ones do."""

from __future__ import annotations

import hashlib
import io
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = bytes(hashlib.shake_256(b"a public set").digest(1_000_000))
"""Bytes of the file that a server offers unless it is told otherwise."""


def zip_of(content: bytes) -> bytes:
    """A zip with one member, stored as it is; the same bytes every time."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("member.bin"), content)
    return packed.getvalue()


@dataclass
class Behaviour:
    """What a server does; one that is left alone is a good one.

    Attributes:
        content: of the file, at any path that has none of its own.
        contents: of the paths that have.
        drops: bytes after which each answer in turn breaks off; answers after the last are whole.
        ranges: whether a part can be asked for.
        statuses: answered in turn, before any file is sent.
        etag: of the file; empty for none.
        modified: its date; empty for none.
        heeds_if_range: whether a part is given only of the version that is asked for.
        says_length: whether the length of an answer is said before it comes.
        length: said to be that of the file, where it is not true.
        kind: of the content.
        moved_to: address that every request is sent on to.
        silent_seconds: before each chunk of 64 KiB.
        asked: the Range of every request, in order; None where there was none.
    """

    content: bytes = CONTENT
    contents: dict[str, bytes] = field(default_factory=dict)
    drops: list[int] = field(default_factory=list)
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    etag: str = '"one"'
    modified: str = ""
    heeds_if_range: bool = True
    says_length: bool = True
    length: int | None = None
    kind: str = "application/zip"
    moved_to: str = ""
    silent_seconds: float = 0.0
    asked: list[str | None] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = behaviour


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:  # noqa: N802 (its caller's name)
        self._answer(body=False)

    def do_GET(self) -> None:  # noqa: N802
        self.server.behaviour.asked.append(self.headers.get("Range"))
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        self.close_connection = True
        if self.server.behaviour.moved_to:
            self._head(302, {"Location": self.server.behaviour.moved_to, "Content-Length": "0"})
            return
        if self.server.behaviour.statuses and body:
            self._head(self.server.behaviour.statuses.pop(0), {"Content-Length": "0"})
            return
        begin, status = self._begin()
        whole = len(self._content())
        if begin >= whole and status == 206:
            self._head(416, {"Content-Range": f"bytes */{whole}", "Content-Length": "0"})
            return
        said = self.server.behaviour.length if self.server.behaviour.length is not None else whole
        headers = {"Content-Type": self.server.behaviour.kind} | self._version()
        if self.server.behaviour.says_length:
            headers["Content-Length"] = str(said - begin)
        if status == 206:
            headers["Content-Range"] = f"bytes {begin}-{said - 1}/{said}"
        self._head(status, headers)
        if body:
            self._send(self._content()[begin:])

    def _content(self) -> bytes:
        return self.server.behaviour.contents.get(self.path, self.server.behaviour.content)

    def _begin(self) -> tuple[int, int]:
        asked = self.headers.get("Range")
        wanted = self.headers.get("If-Range")
        # A weak ETag is of no version that a part could be joined to.
        known = {value for value in self._version().values() if not value.startswith("W/")}
        same = not self.server.behaviour.heeds_if_range or wanted is None or wanted in known
        if asked and same and self.server.behaviour.ranges:
            return int(asked.removeprefix("bytes=").removesuffix("-")), 206
        return 0, 200

    def _version(self) -> dict[str, str]:
        of = self.server.behaviour
        told = {"ETag": of.etag, "Last-Modified": of.modified}
        return {name: value for name, value in told.items() if value}

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def _send(self, content: bytes) -> None:
        if self.server.behaviour.drops:
            content = content[: self.server.behaviour.drops.pop(0)]
        for begin in range(0, len(content), 1 << 16):
            time.sleep(self.server.behaviour.silent_seconds)
            try:
                self.wfile.write(content[begin : begin + (1 << 16)])
            except (BrokenPipeError, ConnectionResetError):
                return  # the client has given up, as it may


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """Address of a server that behaves so, while the block runs."""
    server = _Server(behaviour)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
