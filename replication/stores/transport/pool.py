"""Sends requests over connections that are kept open between requests."""

import ssl
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from functools import cache, partial
from itertools import chain
from typing import Protocol
from urllib.parse import urlsplit

import certifi

from replication.stores.transport import fibers
from replication.stores.transport.answer import Answer
from replication.stores.transport.connection import (
    SEND_BYTES,
    Connection,
    FiberConnection,
    Origin,
    Timeouts,
)
from replication.stores.transport.errors import NoAnswer, TransportError

# OSS closes a connection that is idle for a minute. S3 may close it earlier; `is_usable` sees that.
IDLE_SECONDS_AT_MOST = 50.0

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SAFE_METHODS = {"GET", "HEAD"}


class Body(Protocol):
    """Bytes to send: `len` of them, read in order."""

    @property
    def len(self) -> int: ...
    def read(self, size: int = -1) -> bytes: ...


@cache
def tls_context(ca_file: str = "") -> ssl.SSLContext:
    """The TLS settings that check certificates. Loading the authorities takes a tenth of a second.

    Args:
        ca_file: a file of the certificate authorities to trust; certifi's by default.
    """
    return ssl.create_default_context(cafile=ca_file or certifi.where())


class Pool:
    """Connections to any number of origins. Safe to use from many threads, and in fibers.

    On a plain thread, a request blocks the thread. In a fiber it blocks only the fiber, and the
    connections are ones that no plain thread uses.
    """

    def __init__(self, *, timeouts: Timeouts, kept_at_most: int, ca_file: str = "") -> None:
        """
        Args:
            kept_at_most: how many idle connections to keep for each origin, for threads and for
                fibers apart.
            ca_file: see `tls_context`.
        """
        self._timeouts = timeouts
        self._tls = tls_context(ca_file)
        self._tls_sessions: dict[Origin, ssl.SSLSession | None] = {}
        # The connection that became idle last is used first. So surplus ones stay idle until they
        # are too old, and are closed.
        self._idle: defaultdict[tuple[type[Connection], Origin], deque[Connection]] = defaultdict(
            deque
        )
        self._kept_at_most = kept_at_most
        self.connections_made = 0
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Iterable[tuple[str, str]],
        body: bytes | Body | None = None,
    ) -> Answer:
        """Send a request and return its answer, whatever the status.

        Args:
            url: must be quoted already; it is sent as it is.
            body: an error from its `read` breaks the request off, and is raised here.

        Raises:
            TransportError: no connection, or no answer.
        """
        address = urlsplit(url)
        origin = Origin(
            address.scheme,
            address.hostname or "",
            address.port or _DEFAULT_PORTS[address.scheme],
        )
        start = url.index(address.netloc) + len(address.netloc)
        fields = [("Host", address.netloc), *(each for each in headers if each[0] != "Host")]
        head = _head(method, url[start:] or "/", fields, body)
        while True:
            # Read the body's beginning before taking a connection: if that fails, no connection
            # is lost.
            pieces = _pieces(head, body)
            first = next(pieces)
            connection = self._connection(origin)
            try:
                return self._exchange(connection, method, chain([first], pieces))
            except NoAnswer:
                # A server may close an idle connection at the moment we use it again. That is no
                # fault, but only a request that changes nothing may be sent twice.
                if not (connection.was_used and method in _SAFE_METHODS):
                    raise

    def _exchange(self, connection: Connection, method: str, pieces: Iterator[bytes]) -> Answer:
        try:
            broken = _send(connection, pieces)
            answer = Answer(connection, method=method, release=self._release)
        except BaseException:
            connection.close()
            raise
        if broken is not None:
            connection.is_reusable = False
            if answer.status < 300:
                answer.close()
                raise broken
        return answer

    def _connection(self, origin: Origin) -> Connection:
        kind = Connection if fibers.current() is None else FiberConnection
        while True:
            with self._lock:
                idle = self._idle[kind, origin]
                connection = idle.pop() if idle else None
            if connection is None:
                self.connections_made += 1
                return fibers.run_blocking(
                    partial(
                        kind,
                        origin,
                        timeouts=self._timeouts,
                        tls=self._tls,
                        session=self._tls_sessions.get(origin),
                    )
                )
            if connection.is_usable(idle_seconds_at_most=IDLE_SECONDS_AT_MOST):
                return connection
            connection.close()

    def _release(self, connection: Connection) -> None:
        if connection.origin.scheme == "https":
            self._tls_sessions[connection.origin] = connection.tls_session
        if not connection.is_reusable:
            connection.close()
            return
        connection.mark_idle()
        with self._lock:
            idle = self._idle[type(connection), connection.origin]
            idle.append(connection)
            oldest = idle.popleft() if len(idle) > self._kept_at_most else None
        if oldest is not None:
            oldest.close()


def _send(connection: Connection, pieces: Iterator[bytes]) -> TransportError | None:
    """Send all pieces.

    Returns the error if the connection broke: the server may have sent the reason as its answer.

    Raises:
        TransportError: the server accepted no bytes within the read timeout.
    """
    for piece in pieces:
        try:
            connection.send(piece)
        except TimeoutError as error:
            raise TransportError("the server took no bytes within the read timeout") from error
        except OSError as error:
            broken = NoAnswer(f"the connection broke while the request was sent: {error}")
            broken.__cause__ = error
            return broken
    return None


def _pieces(head: bytes, body: bytes | Body | None) -> Iterator[bytes]:
    """The data for each send: the head goes together with the beginning of the body."""
    if body is None:
        yield head
    elif isinstance(body, bytes):
        yield head + body
    else:
        remaining = body.len
        while True:
            data = body.read(min(remaining, SEND_BYTES))
            remaining -= len(data)
            yield head + data
            head = b""
            if not remaining:
                return
            if not data:
                raise ValueError(f"the body is {remaining} bytes shorter than its length")


def _head(
    method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes | Body | None
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if body is not None:
        lines.append(f"Content-Length: {len(body) if isinstance(body, bytes) else body.len}")
    head = "\r\n".join([*lines, "\r\n"])
    breaks = len(lines) + 1
    # Refuse anything that a server could read as another request.
    if lines[0].count(" ") != 2 or (head.count("\r"), head.count("\n"), head.count("\0")) != (
        breaks,
        breaks,
        0,
    ):
        raise ValueError("a space in the URL, or a line break or NUL in the URL or a header")
    return head.encode("latin-1")
