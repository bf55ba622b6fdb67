"""Slow clients don't keep the web server from others, started as README and the image start it."""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from s3sync import web_server
from tests.support import ways_to_start
from tests.support.processes import eventually, web_server_by

TOKEN = "a-token-of-slow-clients"
CLIENTS = 200
HALF_A_HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
HALF_A_BODY = (
    b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Authorization: S3SYNC-HMAC-SHA256 Timestamp=1, Signature=" + b"0" * 64 + b"\r\n"
    b'Content-Length: 1000\r\n\r\n{"domain": "'
)
# 44 MB of answers each, which nobody reads.
NO_READS = b"GET /static/admin/css/base.css HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000
# What a caller waits for an answer, however busy this machine is.
PATIENCE_SECONDS = 20

pytestmark = pytest.mark.django_db(transaction=True)


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


@contextmanager
def slow_clients(address: str, beginning: bytes) -> Iterator[list[socket.socket]]:
    """Connections that send this beginning, then a byte every two seconds, and read nothing."""
    clients = [connect(address) for _ in range(CLIENTS)]
    over = threading.Event()

    def drip() -> None:
        while not over.wait(2):
            for client in clients:
                try:
                    client.send(b"a")
                except OSError:  # closed by the server
                    continue

    for client in clients:
        client.setblocking(False)
        client.send(beginning)  # as much as the server takes without reading
    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        yield clients
    finally:
        over.set()
        dripping.join()
        for client in clients:
            client.close()


def ask(address: str, path: str) -> int:
    server = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
    try:
        server.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        answer = server.getresponse()
        answer.read()
        return answer.status
    finally:
        server.close()


@pytest.mark.parametrize(
    "beginning", [HALF_A_HEAD, HALF_A_BODY, NO_READS], ids=["head", "body", "read"]
)
@pytest.mark.parametrize(
    "command", [ways_to_start.of_readme(), ways_to_start.of_image()], ids=["readme", "image"]
)
def test_200_slow_clients_hold_nobody_up(command: list[str], beginning: bytes) -> None:
    with (
        web_server_by(command, S3SYNC_API_TOKENS=TOKEN) as address,
        slow_clients(address, beginning),
    ):
        for _ in range(5):
            assert ask(address, "/healthz") == 200
            assert ask(address, "/api/v1/status") == 200
            assert ask(address, "/admin/login/") == 200


def test_a_slow_client_is_closed_though_it_sends_something_all_the_time() -> None:
    limit = web_server.REQUEST_SECONDS
    assert web_server.HEAD_SECONDS < limit < 60
    with (
        web_server_by(ways_to_start.of_readme(), S3SYNC_API_TOKENS=TOKEN) as address,
        slow_clients(address, HALF_A_HEAD) as heads,
        slow_clients(address, HALF_A_BODY) as bodies,
    ):
        for client in (heads[0], bodies[0]):
            client.setblocking(True)
            eventually(partial(is_closed, client), timeout_seconds=4 * limit)


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except OSError:
        return True


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length : 5\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"X: a\x00b\r\n",
        b"X: " + b"a" * 100_000 + b"\r\n",
        b"Content-Length: 99999999999\r\n",
    ],
)
def test_a_request_that_a_proxy_may_read_otherwise_is_refused(head: bytes, address: str) -> None:
    client = connect(address)
    client.sendall(b"POST /healthz HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n0\r\n\r\n")
    answer = http.client.HTTPResponse(client)
    answer.begin()
    assert answer.status in {400, 413, 431, 501}
    answer.read()
    assert is_closed(client)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    # These requests reach no code that needs a database.
    with web_server_by(
        ways_to_start.of_readme(), DATABASE_URL="postgresql://a@127.0.0.1:1/a"
    ) as it:
        yield it
