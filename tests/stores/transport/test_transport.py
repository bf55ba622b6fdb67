"""The transport keeps connections open, parses answers, and limits each wait."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
import trustme

from replication.errors import ErrorCode, ReplicationError
from replication.stores.transport import (
    Answer,
    AnswerBroken,
    NoAnswer,
    Pool,
    Timeouts,
    TransportError,
)

pytestmark = pytest.mark.usefixtures("thread_or_fiber")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MEGABYTE = 1 << 20
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"o" * 200_000


class Server:
    """Answers its n-th request with the n-th of `answers`, and repeats the last one.

    An answer is the bytes to send, or a function of the connection, which is closed afterwards.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: list[bytes | Callable[[socket.socket], None]] = [OK]
        self.requests: list[bytes] = []
        self.connections = 0
        self.reads_bodies = True
        self.tls_resumed: list[bool] = []
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        host = "https://localhost" if self._tls else "http://127.0.0.1"
        return f"{host}:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.close_connections()

    def close_connections(self) -> None:
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self.tls_resumed.append(bool(connection.session_reused))
            with connection:
                while request := _request(connection, whole=self.reads_bodies):
                    self.requests.append(request)
                    answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
                    if callable(answer):
                        answer(connection)
                        return
                    connection.sendall(answer)


def _request(connection: socket.socket, *, whole: bool) -> bytes:
    """Read a request, as a whole or at least its head; empty if the connection ends first."""
    request = b""
    while b"\r\n\r\n" not in request:
        if not (data := connection.recv(65536)):
            return b""
        request += data
    head, _, body = request.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if whole and line.lower().startswith(b"content-length:"):
            while len(body) < int(line.split(b":")[1]):
                if not (data := connection.recv(65536)):
                    return b""
                body += data
    return head + b"\r\n\r\n" + body


class Content:
    """Bytes as a request body."""

    def __init__(self, content: bytes) -> None:
        self._stream = BytesIO(content)
        self.len = len(content)

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)


class Broken(Content):
    """A body that fails after its first megabyte."""

    def read(self, size: int = -1) -> bytes:
        if self._stream.tell() >= MEGABYTE:
            raise ReplicationError(ErrorCode.SOURCE_TRUNCATED)
        return super().read(size)


def a_pool(*, read_seconds: float = 5.0, ca_file: str = "", kept_at_most: int = 4) -> Pool:
    return Pool(timeouts=Timeouts(5.0, read_seconds), kept_at_most=kept_at_most, ca_file=ca_file)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def get(pool: Pool, server: Server, method: str = "GET") -> Answer:
    return pool.request(method, f"{server.url}/path?x=1", headers=[("Name", "value")])


def put(pool: Pool, server: Server, body: bytes | Content) -> Answer:
    return pool.request("PUT", f"{server.url}/path", headers=[], body=body)


def test_a_request_is_sent_exactly_as_given(server: Server) -> None:
    pool = a_pool()
    with get(pool, server) as answer:
        assert (answer.status, answer.read()) == (200, b"ok")
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
            assert answer.read() == body
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
            assert (answer.read(), answer.headers["etag"]) == (b"", "x")
            assert answer.headers.get("Content-LENGTH") == "1000"
    assert server.connections == 1


def test_an_answer_without_a_length_ends_with_its_connection(server: Server) -> None:
    def until_it_closes(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")

    server.answers = [until_it_closes]
    with get(a_pool(), server) as answer:
        assert answer.read() == b"all of it"


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
        answer.read()


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
        answer.read()
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
            answer.read()
    assert (len(server.requests), server.connections) == (3, 2)


def test_a_write_is_never_sent_twice(server: Server) -> None:
    server.answers = [OK, lambda _: None, OK]
    pool = a_pool()
    with get(pool, server) as answer:
        answer.read()
    with pytest.raises(NoAnswer) as caught:
        put(pool, server, Content(b"body"))
    assert len(server.requests) == 2
    assert not caught.value.is_surely_unsent


def test_an_idle_connection_that_the_server_closed_is_not_used(server: Server) -> None:
    pool = a_pool()
    with get(pool, server) as answer:
        answer.read()
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
        assert (answer.status, answer.read()) == (403, b"no")


def test_a_failing_body_aborts_the_request_and_closes_its_connection(server: Server) -> None:
    pool = a_pool()
    with pytest.raises(ReplicationError):
        put(pool, server, Broken(b"x" * (2 * MEGABYTE)))
    assert server.requests == []
    with get(pool, server) as answer:
        assert answer.read() == b"ok"
    assert server.connections == 2


def test_no_more_idle_connections_are_kept_than_configured(server: Server) -> None:
    server.answers = [LONG]
    pool = a_pool(kept_at_most=1)
    for connections in (2, 3):
        with get(pool, server) as first, get(pool, server) as second:
            assert len(first.read()) == len(second.read()) == 200_000
        assert server.connections == connections


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


def _tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_tls_checks_the_certificate_and_resumes_sessions(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server, stranger = (
        Server(tls=_tls(authority, "localhost")),
        Server(tls=_tls(authority, "other")),
    )
    server.answers = [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"]
    try:
        pool = a_pool(ca_file=str(tmp_path / "ca.pem"))
        for _ in range(2):
            with get(pool, server) as answer:
                assert answer.read() == b"ok"
        assert server.tls_resumed == [False, True]
        for refused in (a_pool(), pool):
            where = server if refused is not pool else stranger
            with pytest.raises(TransportError, match="no https connection") as caught:
                get(refused, where)
            assert caught.value.is_surely_unsent
        assert stranger.requests == []
    finally:
        server.close()
        stranger.close()


def test_megabytes_go_over_tls_in_both_directions(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = Server(tls=_tls(authority, "localhost"))
    much = bytes(range(256)) * (3 * MEGABYTE // 256)
    server.answers = [OK, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(much), much)]
    try:
        pool = a_pool(ca_file=str(tmp_path / "ca.pem"))
        with put(pool, server, Content(much)) as answer:
            assert answer.read() == b"ok"
        assert server.requests[0].endswith(much)
        with get(pool, server) as answer:
            assert b"".join(iter(lambda: answer.read(100_000), b"")) == much
        assert server.connections == 1
    finally:
        server.close()
