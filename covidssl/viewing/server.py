"""A few files for one browser on this machine, and for nobody else.

Listens on 127.0.0.1 alone. Every address holds a secret, so that neither other users of the machine
nor other pages in the browser can ask; a request under another host's name is refused, so that no
name server can lead a foreign page here (DNS rebinding).
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTP_PORT
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from covidssl.errors import UsageError

_HOST = "127.0.0.1"
_HEADERS = {
    "Cache-Control": "no-store",  # no copy of a scan stays with the browser
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class File:
    """What is answered to one name."""

    content: bytes
    kind: str


@dataclass(frozen=True)
class Serving:
    """A server that runs.

    Attributes:
        address: of the page, with the secret.
        port: on 127.0.0.1.
        thread: in which it answers.
    """

    address: str
    port: int
    thread: threading.Thread


@contextmanager
def serving(files: Mapping[str, File], port: int = 0) -> Iterator[Serving]:
    """Answer requests for `files` until the block ends.

    Args:
        files: by name; the page itself is "".
        port: 0 for any that is free.

    Raises:
        UsageError: when the port is taken, or not allowed.
    """
    secret = secrets.token_urlsafe(24)
    try:
        server = _Server((_HOST, port), _handler(files, secret))
    except OSError as error:
        raise UsageError(
            f"Port {port} cannot be listened on ({error.strerror}); give another one with --port, "
            f"or none for any that is free."
        ) from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        number = server.server_address[1]
        yield Serving(f"http://{_HOST}:{number}/{secret}/", number, thread)
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A browser that hangs up is no news."""


def _handler(files: Mapping[str, File], secret: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "covidssl", ""
        timeout = 60

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def log_message(self, *_: Any) -> None:
            """Requests are not logged: what they ask for is the asker's text."""

        def _answer(self, body: bool) -> None:
            status, file = self._found()
            self.send_response(status)
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Type", file.kind)
            self.send_header("Content-Length", str(len(file.content)))
            self.end_headers()
            if body:
                self.wfile.write(file.content)

        def _found(self) -> tuple[HTTPStatus, File]:
            port = self.connection.getsockname()[1]
            if self.headers.get_all("Host") not in [[name] for name in _own_names(port)]:
                return HTTPStatus.MISDIRECTED_REQUEST, _TEXT
            start, _, rest = self.path.removeprefix("/").partition("/")
            if not hmac.compare_digest(start.encode(), secret.encode()):
                return HTTPStatus.FORBIDDEN, _TEXT
            file = files.get(rest.partition("?")[0])
            return (HTTPStatus.NOT_FOUND, _TEXT) if file is None else (HTTPStatus.OK, file)

    return Handler


def _own_names(port: int) -> tuple[str, ...]:
    """What a browser calls this server: at the usual port of HTTP, without the port too."""
    return (f"{_HOST}:{port}", _HOST) if port == HTTP_PORT else (f"{_HOST}:{port}",)


_TEXT = File(b"covidssl view: not here.\n", "text/plain; charset=utf-8")
