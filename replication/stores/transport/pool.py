"""Requests on connections that are kept between them."""

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

# OSS ends a connection that had nothing to do for a minute. S3 may do so earlier, which is seen.
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
    """What certificates are checked with; to read all the authorities takes a tenth of a second.

    Args:
        ca_file: the authorities that certificates must come from; certifi's by default.
    """
    return ssl.create_default_context(cafile=ca_file or certifi.where())


class Pool:
    """Connections to any number of origins. Safe to use from many threads, and in fibers."""

    def __init__(self, *, timeouts: Timeouts, kept_at_most: int, ca_file: str = "") -> None:
        """
        Args:
            kept_at_most: connections to an origin that wait for their next request.
            ca_file: see `tls_context`.
        """
        self._timeouts = timeouts
        self._tls = tls_context(ca_file)
        self._tls_sessions: dict[Origin, ssl.SSLSession | None] = {}
        # The one that rested last is taken first: the others grow old, and are ended.
        self._resting: defaultdict[tuple[type[Connection], Origin], deque[Connection]] = (
            defaultdict(deque)
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
        """Send a request; its answer, whatever the status is.

        Args:
            url: sent as it is, so already quoted.
            body: what its `read` raises is raised here; the request is broken off then.

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
            # Before a connection is taken, which is none the worse if the body has no beginning.
            pieces = _pieces(head, body)
            first = next(pieces)
            connection = self._connection(origin)
            try:
                return self._exchange(connection, method, chain([first], pieces))
            except NoAnswer:
                # A server may end a connection the moment that we use it again, which is no fault
                # of anyone's. Only what changes nothing may be asked twice.
                if not (connection.is_used and method in _SAFE_METHODS):
                    raise

    def _exchange(self, connection: Connection, method: str, pieces: Iterator[bytes]) -> Answer:
        try:
            broken = _send(connection, pieces)
            answer = Answer(connection, method=method, give_back=self._give_back)
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
                resting = self._resting[kind, origin]
                connection = resting.pop() if resting else None
            if connection is None:
                self.connections_made += 1
                return fibers.away(
                    partial(
                        kind,
                        origin,
                        timeouts=self._timeouts,
                        tls=self._tls,
                        resumed=self._tls_sessions.get(origin),
                    )
                )
            if connection.is_fit(idle_seconds_at_most=IDLE_SECONDS_AT_MOST):
                return connection
            connection.close()

    def _give_back(self, connection: Connection) -> None:
        if connection.origin.scheme == "https":
            self._tls_sessions[connection.origin] = connection.tls_session
        if not connection.is_reusable:
            connection.close()
            return
        connection.rest()
        with self._lock:
            resting = self._resting[type(connection), connection.origin]
            resting.append(connection)
            is_one_too_many = len(resting) > self._kept_at_most
            oldest = resting.popleft() if is_one_too_many else None
        if oldest is not None:
            oldest.close()


def _send(connection: Connection, pieces: Iterator[bytes]) -> TransportError | None:
    """Send all pieces; the error, if the server took no more of them and may have said why."""
    for piece in pieces:
        try:
            connection.send(piece)
        except TimeoutError as error:
            raise TransportError("nothing was taken for as long as the read timeout is") from error
        except OSError as error:
            broken = NoAnswer(f"the connection broke while the request was sent: {error}")
            broken.__cause__ = error
            return broken
    return None


def _pieces(head: bytes, body: bytes | Body | None) -> Iterator[bytes]:
    """What to send, call by call: the head goes with the beginning of the body."""
    if body is None:
        yield head
    elif isinstance(body, bytes):
        yield head + body
    else:
        left = body.len
        while True:
            data = body.read(min(left, SEND_BYTES))
            left -= len(data)
            yield head + data
            head = b""
            if not left:
                return
            if not data:
                raise ValueError(f"the body ended {left} bytes before its end")


def _head(
    method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes | Body | None
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if body is not None:
        lines.append(f"Content-Length: {len(body) if isinstance(body, bytes) else body.len}")
    head = "\r\n".join([*lines, "\r\n"])
    breaks = len(lines) + 1
    if lines[0].count(" ") != 2 or (head.count("\r"), head.count("\n"), head.count("\0")) != (
        breaks,
        breaks,
        0,
    ):
        raise ValueError("a space or control character in the head of a request")
    return head.encode("latin-1")
