"""A server whose answers a test writes byte by byte, and what a test sends to it."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO

import trustme

from replication.stores.transport import Limits, Pool, tls_context

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MEGABYTE = 1 << 20


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


@contextmanager
def scripted_server(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server that runs on a loopback port until the context ends."""
    server = Server(tls)
    try:
        yield server
    finally:
        server.close()


def a_pool(
    *,
    connect_seconds: float = 5.0,
    read_seconds: float = 5.0,
    exchange_seconds: float = 60.0,
    least_bytes_per_second: float = 1024.0,
    ca_file: str = "",
    kept_at_most: int = 4,
) -> Pool:
    limits = Limits(connect_seconds, read_seconds, exchange_seconds, least_bytes_per_second)
    return Pool(limits=limits, kept_at_most=kept_at_most, tls=tls_context(ca_file))


def tls_of(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """The TLS settings of a server with this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context
