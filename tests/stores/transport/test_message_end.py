"""An answer ends where its message ends. What comes after it is no part of it, and of no other."""

from collections.abc import Iterator

import pytest

from replication.stores.transport import TransportError
from tests.support.scripted_server import OK, Server, a_pool, scripted_server

pytestmark = pytest.mark.usefixtures("thread_or_fiber")

STRAY = b"HTTP/1.1 200 OK\r\nETag: stray\r\nContent-Length: 5\r\n\r\nstray"


@pytest.fixture
def server() -> Iterator[Server]:
    with scripted_server() as server:
        yield server


@pytest.mark.parametrize(
    ("method", "answer", "body"),
    [
        ("GET", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", b"no"),
        ("GET", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", b""),
        (
            "GET",
            b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            b"no",
        ),
        ("HEAD", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n", b""),
        (
            "GET",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
            b"no",
        ),
    ],
    ids=["length", "empty", "chunked", "HEAD", "after a 100"],
)
@pytest.mark.parametrize("stray", [STRAY, b"\r\n" + STRAY, b"nonsense"])
def test_what_follows_an_answer_changes_nothing_and_ends_its_connection(
    server: Server, method: str, answer: bytes, body: bytes, stray: bytes
) -> None:
    server.answers = [answer + stray, OK]
    pool = a_pool()
    with pool.request(method, server.url, headers=[]) as refused:
        assert (refused.status, refused.headers.get("etag")) == (403, None)
        assert refused.read_all() == body
        assert refused.status == 403
    with pool.request("GET", server.url, headers=[]) as ours:
        assert (ours.status, ours.read_all()) == (200, b"ok")
    assert server.connections == 2


def test_a_204_with_a_body_ends_its_connection(server: Server) -> None:
    server.answers = [b"HTTP/1.1 204 No Content\r\n\r\n" + STRAY, OK]
    pool = a_pool()
    for status in (204, 200):
        with pool.request("GET", server.url, headers=[]) as answer:
            assert answer.status == status
            answer.read_all()
    assert server.connections == 2


def test_a_trailer_of_a_chunked_body_is_no_header(server: Server) -> None:
    server.answers = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: head\r\n\r\n"
        b"2\r\nok\r\n0\r\nETag: trailer\r\n\r\n"
    ]
    with a_pool().request("GET", server.url, headers=[]) as answer:
        assert answer.read_all() == b"ok"
        assert answer.headers["etag"] == "head"


def test_a_head_that_comes_byte_by_byte_is_read(server: Server) -> None:
    def slowly(connection) -> None:
        for at in range(len(OK)):
            connection.sendall(OK[at : at + 1])

    server.answers = [slowly]
    with a_pool().request("GET", server.url, headers=[]) as answer:
        assert (answer.status, answer.read_all()) == (200, b"ok")


@pytest.mark.parametrize(
    "head", [b"Content-Length: 200000", b"Transfer-Encoding: chunked", b"X: y"]
)
def test_a_body_that_must_fit_into_memory_has_a_limit(server: Server, head: bytes) -> None:
    body = b"o" * 200_000
    if head.startswith(b"Transfer"):
        body = b"30d40\r\n" + body + b"\r\n0\r\n\r\n"
    server.answers = [b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body]
    pool = a_pool()
    with pool.request("GET", server.url, headers=[]) as answer:
        assert answer.read_beginning(1000) == b"o" * 1000
    with (
        pool.request("GET", server.url, headers=[]) as answer,
        pytest.raises(TransportError, match="longer than 1000 bytes"),
    ):
        answer.read_all(at_most=1000)
