"""The server answers one browser on this machine, and nobody else."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import closing
from email.message import Message
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from covidssl.errors import UsageError
from covidssl.viewing import Serving, serving
from covidssl.viewing.server import File

FILES = {"": File(b"page", "text/html"), "scan.nii": File(b"voxels", "application/octet-stream")}


@pytest.fixture
def running() -> Iterator[Serving]:
    with serving(FILES) as running:
        yield running


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: Message


def asked(running: Serving, path: str, host: str | None = None, method: str = "GET") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    with closing(connection):
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{running.port}")
        connection.endheaders()
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(), answer.headers)


def secret(running: Serving) -> str:
    return urlsplit(running.address).path


def test_the_page_and_its_files_are_given_to_who_knows_the_secret(running: Serving) -> None:
    assert asked(running, secret(running)).body == b"page"
    assert asked(running, secret(running) + "scan.nii?x=1").body == b"voxels"


def test_without_the_secret_nothing_is_given(running: Serving) -> None:
    wrong = secret(running)[:-2] + "?/"
    for path in ("/", "/scan.nii", "//scan.nii", wrong, wrong + "scan.nii", "/%ff/scan.nii"):
        answer = asked(running, path)
        assert (answer.status, b"voxels" in answer.body) == (403, False)


def test_every_run_has_another_secret(running: Serving) -> None:
    with serving(FILES) as other:
        assert secret(other) != secret(running)
        assert len(secret(other)) > 30


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost", "127.0.0.1"])
def test_another_host_name_is_refused_so_that_no_name_server_leads_here(
    running: Serving, host: str
) -> None:
    answer = asked(running, secret(running), host)
    assert (answer.status, answer.body) == (421, b"covidssl view: not here.\n")


def test_at_the_usual_port_a_browser_leaves_it_out() -> None:
    try:
        with serving(FILES, 80) as running:
            for host in ("127.0.0.1", "127.0.0.1:80"):
                assert asked(running, secret(running), host).body == b"page"
            assert asked(running, secret(running), "evil.example").status == 421
    except UsageError as refusal:
        pytest.skip(f"port 80 is not to be had here: {refusal}")


@pytest.mark.parametrize("name", ["../view.py", "..%2fview.py", "/etc/passwd", "settings", "%00"])
def test_only_its_own_files_are_served(running: Serving, name: str) -> None:
    assert asked(running, secret(running) + name).status == 404


def test_nothing_can_be_sent_to_it(running: Serving) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert asked(running, secret(running), method=method).status == 501


def test_answers_are_not_kept_and_load_nothing_from_elsewhere(running: Serving) -> None:
    headers = asked(running, secret(running), method="HEAD").headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "http" not in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"


def test_it_listens_on_loopback_alone(running: Serving) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it tells the address of this machine
        outside = probe.getsockname()[0]
    if outside.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((outside, running.port), timeout=5)


def test_a_port_that_is_taken_is_named(running: Serving) -> None:
    with pytest.raises(UsageError, match=f"Port {running.port} cannot"):
        serving(FILES, running.port).__enter__()


def test_it_ends_with_the_block() -> None:
    with serving(FILES) as running:
        pass
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", running.port), timeout=5)
