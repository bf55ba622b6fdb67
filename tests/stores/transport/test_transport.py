"""The transport keeps connections open, parses answers, and limits each wait."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from replication.errors import ErrorCode, ReplicationError
from replication.stores.transport import (
    Answer,
    AnswerBroken,
    NoAnswer,
    Pool,
    TlsFailed,
    TransportError,
)
from replication.stores.transport.pool import IDLE_SECONDS_AT_MOST
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

LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"o" * 200_000


class Broken(Content):
    """A body that fails after its first megabyte."""

    def read(self, size: int = -1) -> bytes:
        if self._stream.tell() >= MEGABYTE:
            raise ReplicationError(ErrorCode.SOURCE_TRUNCATED)
        return super().read(size)


@pytest.fixture
def server() -> Iterator[Server]:
    with scripted_server() as server:
        yield server


def get(pool: Pool, server: Server, method: str = "GET") -> Answer:
    return pool.request(method, f"{server.url}/path?x=1", headers=[("Name", "value")])


def put(pool: Pool, server: Server, body: bytes | Content) -> Answer:
    return pool.request("PUT", f"{server.url}/path", headers=[], body=body)


def test_a_request_is_sent_exactly_as_given(server: Server) -> None:
    pool = a_pool()
    with get(pool, server) as answer:
        assert (answer.status, answer.read_all()) == (200, b"ok")
    with put(pool, server, Content(b"body")) as answer:
        assert answer.read(1) + answer.read(5) + answer.read(5) == b"ok"
    host = server.url.removeprefix("http://").encode()
    assert server.requests == [
        b"GET /path?x=1 HTTP/1.1\r\nHost: " + host + b"\r\nName: value\r\n\r\n",
        b"PUT /path HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 4\r\n\r\nbody",
    ]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTRANSFER-ENCODING:chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
            b"abcd",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ],
    ids=["chunked", "after a 100", "204", "empty"],
)
def test_a_complete_answer_is_recognised_and_its_connection_is_kept(
    server: Server, raw: bytes, body: bytes
) -> None:
    server.answers = [raw]
    pool = a_pool()
    for _ in range(2):
        with get(pool, server) as answer:
            assert answer.read_all() == body
    assert server.connections == 1


def test_a_header_value_can_hold_any_characters_except_line_breaks(server: Server) -> None:
    value = bytes(each for each in range(1, 256) if each not in b"\r\n").strip()
    server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nName: " + value + b"\r\n\r\n"]
    with get(a_pool(), server) as answer:
        assert answer.headers["name"] == value.decode("latin-1")


def test_the_answer_to_a_head_request_has_no_body(server: Server) -> None:
    server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: x\r\n\r\n"]
    pool = a_pool()
    for _ in range(2):
        with get(pool, server, "HEAD") as answer:
            assert (answer.read_all(), answer.headers["etag"]) == (b"", "x")
            assert answer.headers.get("Content-LENGTH") == "1000"
    assert server.connections == 1


def test_an_answer_without_a_length_ends_with_its_connection(server: Server) -> None:
    def until_it_closes(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")

    server.answers = [until_it_closes]
    with get(a_pool(), server) as answer:
        assert answer.read_all() == b"all of it"


def test_the_connection_of_a_partly_read_answer_is_not_used_again(server: Server) -> None:
    server.answers = [LONG]
    pool = a_pool()
    for _ in range(2):
        with get(pool, server) as answer:
            assert answer.read(1) == b"o"
    assert server.connections == 2


def test_a_closed_answer_can_not_be_read(server: Server) -> None:
    server.answers = [LONG]
    answer = get(a_pool(), server)
    answer.close()
    with pytest.raises(TransportError, match="the connection broke"):
        answer.read_all()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
    ids=["head", "body", "chunk"],
)
def test_an_answer_that_breaks_off_is_an_error(server: Server, raw: bytes) -> None:
    server.answers = [lambda connection: connection.sendall(raw)]
    with pytest.raises(AnswerBroken), get(a_pool(), server) as answer:
        answer.read_all()
    assert len(server.requests) == 1  # not repeated: the answer had begun


@pytest.mark.parametrize(
    "raw",
    [
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
    ],
    ids=["nonsense", "two lengths", "length and chunks", "endless"],
)
def test_an_invalid_answer_is_refused(server: Server, raw: bytes) -> None:
    server.answers = [raw]
    with pytest.raises(TransportError) as caught, get(a_pool(), server):
        pass
    assert not caught.value.is_surely_unsent


def test_waiting_for_a_silent_server_ends_with_the_read_timeout(server: Server) -> None:
    silence = threading.Event()
    server.answers = [lambda _: (silence.wait(30), None)[1]]
    with pytest.raises(TransportError, match="read timeout"):
        get(a_pool(read_seconds=0.2), server)
    silence.set()


def test_sending_to_a_server_that_reads_nothing_ends_with_the_read_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        body = Content(b"x" * (16 * MEGABYTE))
        with pytest.raises(TransportError, match="took no bytes"):
            a_pool(read_seconds=0.2).request("PUT", url, headers=[], body=body)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_read_is_repeated_if_the_server_closes_the_kept_connection_just_then(
    server: Server, method: str
) -> None:
    server.answers = [OK.removesuffix(b"ok") if method == "HEAD" else OK, lambda _: None, OK]
    pool = a_pool()
    for _ in range(2):
        with get(pool, server, method) as answer:
            answer.read_all()
    assert (len(server.requests), server.connections) == (3, 2)


def test_a_write_is_never_sent_twice(server: Server) -> None:
    server.answers = [OK, lambda _: None, OK]
    pool = a_pool()
    with get(pool, server) as answer:
        answer.read_all()
    with pytest.raises(NoAnswer) as caught:
        put(pool, server, Content(b"body"))
    assert len(server.requests) == 2
    assert not caught.value.is_surely_unsent


def test_an_idle_connection_that_the_server_closed_is_not_used(server: Server) -> None:
    pool = a_pool()
    with get(pool, server) as answer:
        answer.read_all()
    server.close_connections()
    with put(pool, server, Content(b"body")) as answer:
        assert answer.status == 200
    assert server.connections == 2


def test_a_refusal_that_comes_before_the_whole_body_is_sent_is_returned(server: Server) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(5)
        with suppress(OSError):
            while connection.recv(65536):
                pass

    server.answers = [refuse]
    server.reads_bodies = False
    with put(a_pool(), server, Content(b"x" * (16 * MEGABYTE))) as answer:
        assert (answer.status, answer.read_all()) == (403, b"no")


def test_a_failing_body_aborts_the_request_and_closes_its_connection(server: Server) -> None:
    pool = a_pool()
    with pytest.raises(ReplicationError):
        put(pool, server, Broken(b"x" * (2 * MEGABYTE)))
    assert server.requests == []
    with get(pool, server) as answer:
        assert answer.read_all() == b"ok"
    assert server.connections == 2


def test_no_more_idle_connections_are_kept_than_configured(server: Server) -> None:
    server.answers = [LONG]
    pool = a_pool(kept_at_most=1)
    for connections in (2, 3):
        with get(pool, server) as first, get(pool, server) as second:
            assert len(first.read_all()) == len(second.read_all()) == 200_000
        assert server.connections == connections


def test_connections_of_a_burst_are_closed_when_they_have_been_idle_for_long(
    server: Server,
) -> None:
    server.answers = [LONG]
    pool = a_pool()
    with get(pool, server) as first, get(pool, server) as second:
        first.read_all()
        second.read_all()
    (idle,) = pool._idle.values()
    oldest, newest = idle
    oldest.idle_since -= 2 * IDLE_SECONDS_AT_MOST
    with get(pool, server) as answer:
        answer.read_all()
    assert list(idle) == [newest]


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("/a b", []),
        ("/", [("Name", "value\r\nOther: value")]),
        ("/", [("Name", "value\0")]),
        ("/", [("Name: x\n", "value")]),
        ("/", [("Name", "数据")]),
    ],
    ids=["space in the path", "line break", "NUL", "line break in a name", "not Latin-1"],
)
def test_a_request_that_could_be_read_as_another_is_not_sent(
    server: Server, url: str, headers: list[tuple[str, str]]
) -> None:
    with pytest.raises(ValueError, match=r"in the URL or a header|latin-1"):
        a_pool().request("GET", server.url + url, headers=headers)
    assert server.connections == 0


def test_a_request_without_a_connection_is_surely_unsent() -> None:
    with pytest.raises(TransportError, match=r"127\.0\.0\.1:9") as caught:
        a_pool().request("GET", "http://127.0.0.1:9/", headers=[])
    assert caught.value.is_surely_unsent


def test_tls_checks_the_certificate_and_resumes_sessions(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server, stranger = (
        Server(tls=tls_of(authority, "localhost")),
        Server(tls=tls_of(authority, "other")),
    )
    server.answers = [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"]
    try:
        pool = a_pool(ca_file=str(tmp_path / "ca.pem"))
        for _ in range(2):
            with get(pool, server) as answer:
                assert answer.read_all() == b"ok"
        assert server.tls_resumed == [False, True]
        for refused in (a_pool(), pool):
            where = server if refused is not pool else stranger
            with pytest.raises(TlsFailed, match="no https connection") as caught:
                get(refused, where)
            assert caught.value.is_surely_unsent
        assert stranger.requests == []
    finally:
        server.close()
        stranger.close()


def test_megabytes_go_over_tls_in_both_directions(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = Server(tls=tls_of(authority, "localhost"))
    much = bytes(range(256)) * (3 * MEGABYTE // 256)
    server.answers = [OK, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(much), much)]
    try:
        pool = a_pool(ca_file=str(tmp_path / "ca.pem"))
        with put(pool, server, Content(much)) as answer:
            assert answer.read_all() == b"ok"
        assert server.requests[0].endswith(much)
        with get(pool, server) as answer:
            assert b"".join(iter(lambda: answer.read(100_000), b"")) == much
        assert server.connections == 1
    finally:
        server.close()
