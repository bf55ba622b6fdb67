"""Sends requests over connections that are kept open between requests."""

import re
import ssl
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache, partial
from itertools import chain
from urllib.parse import urlsplit

import certifi

from replication.stores.transport import fibers
from replication.stores.transport.answer import Answer
from replication.stores.transport.connection import Connection, FiberConnection
from replication.stores.transport.door import Door
from replication.stores.transport.errors import NoAnswer, TransportError
from replication.stores.transport.pace import Limits
from replication.stores.transport.requests import Body, head_of, pieces_of
from replication.stores.transport.routes import Origin, Proxy, proxy_for

# OSS closes a connection that is idle for a minute. S3 may close it earlier; `is_usable` sees that.
IDLE_SECONDS_AT_MOST = 50.0

# The scheme and the server of a URL; the target of a request is the rest.
_BASE = re.compile(r"[^/?#]*//[^/?#]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SAFE_METHODS = {"GET", "HEAD"}


@cache
def tls_context(ca_file: str = "", added_ca_file: str = "") -> ssl.SSLContext:
    """The TLS settings that check certificates. Loading the authorities takes a tenth of a second.

    Args:
        ca_file: a file of the certificate authorities to trust; certifi's by default.
        added_ca_file: a file of authorities to trust as well.

    Raises:
        OSError: a file can't be read, or has no certificates.
    """
    context = ssl.create_default_context(cafile=ca_file or certifi.where())
    if added_ca_file:
        context.load_verify_locations(added_ca_file)
    return context


class Pool:
    """Connections to any number of origins. Safe to use from many threads, and in fibers.

    On a plain thread, a request blocks the thread. In a fiber it blocks only the fiber, and the
    connections are ones that no plain thread uses.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        kept_at_most: int,
        tls: ssl.SSLContext,
        door: Door | None = None,
    ) -> None:
        """
        Args:
            kept_at_most: how many idle connections to keep for each origin, for threads and for
                fibers apart.
            door: says which addresses may be connected to; without one, all may.
        """
        self._limits = limits
        self._tls = tls
        self._door = door
        self._proxies: dict[Origin, Proxy | None] = {}
        self._tls_sessions: dict[Origin, ssl.SSLSession | None] = {}
        # The connection that became idle last is used first. So surplus ones stay idle until they
        # are too old, and are closed as others become idle.
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
        base = _BASE.match(url)
        assert base is not None, "not an absolute URL"
        origin, host = _server(base[0])
        target = url[base.end() :] or "/"
        fields = [("Host", host), *[each for each in headers if each[0] != "Host"]]
        proxy = self._proxy(origin)
        if proxy is not None and origin.scheme == "http":
            target = f"http://{host}{target}"
            if proxy.authorization:
                fields.append(("Proxy-Authorization", proxy.authorization))
        head = head_of(method, target, fields, body)
        while True:
            # Read the body's beginning before taking a connection: if that fails, no connection
            # is lost.
            pieces = pieces_of(head, body)
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
        connection.pace.restart()
        answer = Answer(connection, method=method, release=self._release)
        try:
            unsent = _send(connection, pieces, answer)
            if unsent is not None:
                connection.is_reusable = False
            connection.pace.restart()
            answer.read_head()
        except BaseException:
            connection.close()
            raise
        if unsent is not None and answer.status < 300:
            answer.close()
            raise unsent
        return answer

    def _proxy(self, origin: Origin) -> Proxy | None:
        """The proxy for this origin. The environment is read once for each origin."""
        if origin not in self._proxies:
            self._proxies[origin] = proxy_for(origin)
        return self._proxies[origin]

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
                        limits=self._limits,
                        tls=self._tls,
                        session=self._tls_sessions.get(origin),
                        proxy=self._proxy(origin),
                        door=self._door,
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
        connection.end_exchange()
        with self._lock:
            idle = self._idle[type(connection), connection.origin]
            idle.append(connection)
            oldest = idle.popleft() if self._has_surplus(idle) else None
        if oldest is not None:
            oldest.close()

    def _has_surplus(self, idle: deque[Connection]) -> bool:
        """Whether there are too many, or one that was needed for a burst has been idle since."""
        return len(idle) > self._kept_at_most or (
            time.monotonic() - idle[0].idle_since > IDLE_SECONDS_AT_MOST
        )


@lru_cache(maxsize=1024)
def _server(base: str) -> tuple[Origin, str]:
    """The origin, and the value of the Host header, for a URL that begins with `base`.

    Kept, because to split a URL takes longer than to sign a request.
    """
    address = urlsplit(base)
    port = address.port or _DEFAULT_PORTS[address.scheme]
    host = address.netloc.rpartition("@")[2]  # without a login
    return Origin(address.scheme, address.hostname or "", port), host


def _send(connection: Connection, pieces: Iterator[bytes], answer: Answer) -> TransportError | None:
    """Send all pieces, and listen meanwhile: a server may answer early, and then read no more.

    Returns the reason why the request was not sent to its end: the connection broke, or the server
    answered. In both cases its answer may say why.

    Raises:
        TransportError: the server accepted no bytes within the read timeout, or too slowly, or
            ended the connection without an answer.
    """
    for number, piece in enumerate(pieces):
        unsent = memoryview(piece)
        may_have_answered = number > 0 and connection.has_bytes()
        while unsent:
            if may_have_answered:
                answer.hear()
                if answer.has_head:
                    return TransportError("the server answered before it had the whole request")
            try:
                unsent = connection.send(unsent)
            except TimeoutError as error:
                raise TransportError("the server took no bytes within the read timeout") from error
            except OSError as error:
                broken = NoAnswer(f"the connection broke while the request was sent: {error}")
                broken.__cause__ = error
                return broken
            may_have_answered = True
    return None
