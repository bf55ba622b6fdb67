"""A server may answer while the body is still being sent. It is heard at once."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from replication.stores.transport import NoAnswer, Pool, TransportError
from tests.support.scripted_server import (
    MEGABYTE,
    OK,
    Content,
    Server,
    a_pool,
    scripted_server,
    tls_of,
)

pytestmark = pytest.mark.usefixtures("thread_or_fiber")

# A request that waits for this long has failed: the answer was there at once.
PATIENCE_SECONDS = 10.0
THROTTLED = b"HTTP/1.1 503 Slow Down\r\nx-oss-qos-delay-time: 700\r\nContent-Length: 5\r\n\r\nslow!"


class EarlyServer(Server):
    """Answers once it has the head of a request, and then reads no more until the test ends."""

    def __init__(self, *answers: bytes, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.reads_bodies = False
        self.may_end = threading.Event()
        self.answers = [lambda connection: self._answer(connection, answers)]

    def _answer(self, connection: socket.socket, answers: tuple[bytes, ...]) -> None:
        for answer in answers:
            connection.sendall(answer)
        self.may_end.wait(PATIENCE_SECONDS * 2)

    def close(self) -> None:
        self.may_end.set()
        super().close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def pool_and_server(
    stack: ExitStack, scheme: str, path: Path, *answers: bytes
) -> tuple[Pool, Server]:
    if scheme == "http":
        server = EarlyServer(*answers)
        pool = a_pool(read_seconds=PATIENCE_SECONDS)
    else:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(path / "ca.pem")
        server = EarlyServer(*answers, tls=tls_of(authority, "localhost"))
        pool = a_pool(read_seconds=PATIENCE_SECONDS, ca_file=str(path / "ca.pem"))
    stack.callback(server.close)
    return pool, server


def put(pool: Pool, server: Server):
    return pool.request("PUT", server.url, headers=[], body=Content(b"x" * (16 * MEGABYTE)))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["", "after 100"])
def test_a_refusal_is_heard_although_the_server_reads_no_more(
    stack: ExitStack, scheme: str, interim: bytes, tmp_path: Path
) -> None:
    answers = [interim, THROTTLED] if interim else [THROTTLED]
    pool, server = pool_and_server(stack, scheme, tmp_path, *answers)
    with put(pool, server) as answer:
        assert (answer.status, answer.headers["x-oss-qos-delay-time"]) == (503, "700")
        assert answer.read_all() == b"slow!"


def test_the_connection_of_an_early_answer_is_not_used_again(
    stack: ExitStack, tmp_path: Path
) -> None:
    empty = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    pool, server = pool_and_server(stack, "http", tmp_path, empty)
    for connections in (1, 2):
        with put(pool, server) as answer:
            assert answer.status == 403
        assert server.connections == connections


def test_a_success_that_comes_before_the_body_is_an_error(stack: ExitStack, tmp_path: Path) -> None:
    pool, server = pool_and_server(stack, "http", tmp_path, OK)
    with pytest.raises(TransportError, match="before it had the whole request"):
        put(pool, server)


def test_a_server_that_ends_the_connection_early_gives_no_answer() -> None:
    def half_close(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)
        may_end.wait(PATIENCE_SECONDS * 2)

    may_end = threading.Event()
    with scripted_server() as server:
        server.reads_bodies = False
        server.answers = [half_close]
        with pytest.raises(NoAnswer):
            put(a_pool(read_seconds=PATIENCE_SECONDS), server)
        may_end.set()


def test_an_interim_answer_does_not_end_the_request() -> None:
    def continue_and_read(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n")
        left = 16 * MEGABYTE - len(server.requests[0].partition(b"\r\n\r\n")[2])
        while left > 0 and (data := connection.recv(MEGABYTE)):
            left -= len(data)
        connection.sendall(OK)

    with scripted_server() as server:
        server.reads_bodies = False
        server.answers = [continue_and_read]
        with put(a_pool(), server) as answer:
            assert (answer.status, answer.read_all()) == (200, b"ok")
