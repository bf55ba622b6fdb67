"""One connection to a server: it sends and receives bytes, and each wait has a time limit."""

import errno
import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass

from replication.stores.transport import fibers
from replication.stores.transport.errors import TransportError

# How much of a long body one system call moves. More gained nothing, less cost CPU.
RECEIVE_BYTES = SEND_BYTES = 256 * 1024


@dataclass(frozen=True)
class Origin:
    """Where a connection leads. Requests to the same origin may share connections."""

    scheme: str  # http or https
    host: str
    port: int


@dataclass(frozen=True)
class Timeouts:
    """Time limits in seconds: for connecting, and then for each send and receive."""

    connect_seconds: float
    read_seconds: float


class Connection:
    """A connected socket, for one thread at a time.

    Connecting, `send` and `receive` block that thread, in the kernel and without the interpreter's
    lock.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        timeouts: Timeouts,
        tls: ssl.SSLContext,
        session: ssl.SSLSession | None,
    ) -> None:
        """Connect.

        Args:
            session: a TLS session of an earlier connection to the same origin. Resuming it spares
                most of the handshake's work.

        Raises:
            TransportError: no server accepted the connection, or the TLS handshake failed.
        """
        self.origin = origin
        self.is_reusable = True
        self.was_used = False  # whether an exchange has gone over it
        self.idle_since = 0.0
        self._socket = _connect(origin, timeouts=timeouts, tls=tls, session=session)

    @property
    def tls_session(self) -> ssl.SSLSession | None:
        """The session for a later connection to resume; None without TLS."""
        return self._socket.session if isinstance(self._socket, ssl.SSLSocket) else None

    def send(self, data: bytes) -> None:
        """Send all of `data`.

        Raises:
            TimeoutError: the other side did not accept the data in time.
            OSError: the connection broke.
        """
        try:
            self._socket.sendall(data)
        except BlockingIOError as error:
            raise TimeoutError from error

    def receive(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; empty if the other side ended the connection.

        Raises:
            TimeoutError: no bytes came in time.
            OSError: the connection broke.
        """
        try:
            return self._socket.recv(size)
        except BlockingIOError as error:
            raise TimeoutError from error

    def mark_idle(self) -> None:
        """Note that an exchange is over, and that the connection is idle from now on."""
        self.was_used = True
        self.idle_since = time.monotonic()

    def is_usable(self, *, idle_seconds_at_most: float) -> bool:
        """Whether it was idle for a short time only, and the server neither sent nor closed."""
        if time.monotonic() - self.idle_since > idle_seconds_at_most:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Close the connection."""
        self.is_reusable = False
        self._socket.close()


class FiberConnection(Connection):
    """A connection for fibers: while one fiber waits for its socket, the thread runs the others.

    Only connecting blocks the calling thread, so `Pool` connects by `fibers.run_blocking`.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        timeouts: Timeouts,
        tls: ssl.SSLContext,
        session: ssl.SSLSession | None,
    ) -> None:
        super().__init__(origin, timeouts=timeouts, tls=tls, session=session)
        self._socket.setblocking(False)
        self._descriptor = self._socket.fileno()
        self._read_seconds = timeouts.read_seconds
        self._received_bytes = 0  # since the last wait

    def send(self, data: bytes) -> None:
        """See Connection."""
        remaining = memoryview(data)
        while remaining:
            try:
                remaining = remaining[self._socket.send(remaining) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.EPOLLOUT)
            except ssl.SSLWantReadError:
                self._wait(select.EPOLLIN)

    def receive(self, size: int) -> bytes:
        """See Connection."""
        if self._waits_before_receiving:
            self._wait(select.EPOLLIN)
        while True:
            try:
                data = self._socket.recv(size)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(select.EPOLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.EPOLLOUT)
            else:
                self._received_bytes += len(data)
                return data

    def close(self) -> None:
        """See Connection."""
        super().close()
        self._descriptor = -1  # the kernel may give the number to another file at once

    @property
    def _waits_before_receiving(self) -> bool:
        """Whether to let other fibers run before trying to receive.

        Without TLS always: nearly always no data is there yet, or so much that other fibers must
        have a turn. TLS returns one record of 16 KiB at a time, and may hold a record that epoll
        can't see: so wait only after RECEIVE_BYTES, and not while TLS holds data.
        """
        if not isinstance(self._socket, ssl.SSLSocket):
            return True
        return self._received_bytes >= RECEIVE_BYTES and not self._socket.pending()

    def _wait(self, events: int) -> None:
        own = fibers.current()
        assert own is not None, "a FiberConnection is used outside of a fiber"
        if self._descriptor < 0:
            raise OSError(errno.EBADF, "the connection was closed")
        self._received_bytes = 0
        own.wait(self._descriptor, events, seconds=self._read_seconds)


def _connect(
    origin: Origin, *, timeouts: Timeouts, tls: ssl.SSLContext, session: ssl.SSLSession | None
) -> socket.socket:
    try:
        # Tries all addresses of the name, one after the other.
        connected = socket.create_connection(
            (origin.host, origin.port), timeout=timeouts.connect_seconds
        )
    except (OSError, UnicodeError) as error:  # UnicodeError: a label of the name is too long
        raise TransportError(
            f"no connection to {origin.host}:{origin.port}: {error}", is_surely_unsent=True
        ) from error
    try:
        # Without TCP_NODELAY the kernel holds back the end of a request until the server has
        # acknowledged the beginning.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if origin.scheme == "https":
            connected = tls.wrap_socket(connected, server_hostname=origin.host, session=session)
        _set_timeouts(connected, timeouts.read_seconds)
    except (OSError, ValueError) as error:  # ValueError: TLS can't name this server
        connected.close()
        raise TransportError(
            f"no {origin.scheme} connection to {origin.host}:{origin.port}: {error}",
            is_surely_unsent=True,
        ) from error
    return connected


def _set_timeouts(connected: socket.socket, seconds: float) -> None:
    """Limit how long each send and receive may block.

    With Python's own timeout, each of them takes two system calls (a poll first), and each system
    call releases the interpreter's lock. With the kernel's timeout it takes one. The kernel's
    timeout has no effect under TLS, so TLS sockets use Python's.
    """
    if isinstance(connected, ssl.SSLSocket):
        connected.settimeout(seconds)
        return
    connected.settimeout(None)
    whole_seconds, rest = divmod(seconds, 1)
    timeval = struct.pack("ll", int(whole_seconds), int(rest * 1_000_000))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
