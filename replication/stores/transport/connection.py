"""One connection to a server: bytes out, bytes in, and nothing that waits for ever."""

import errno
import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass

from replication.stores.transport import fibers
from replication.stores.transport.errors import TransportError

# What one call into the kernel moves of a long body. More gained nothing, less cost CPU.
RECEIVE_BYTES = SEND_BYTES = 256 * 1024


@dataclass(frozen=True)
class Origin:
    """Where connections go; two requests to the same one may share them."""

    scheme: str  # http or https
    host: str
    port: int


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds, for a connection and then for each sending and receiving."""

    connect_seconds: float
    read_seconds: float


class Connection:
    """A connected socket, used by one thread at a time, which waits in the kernel."""

    def __init__(
        self,
        origin: Origin,
        *,
        timeouts: Timeouts,
        tls: ssl.SSLContext,
        resumed: ssl.SSLSession | None,
    ) -> None:
        """Connect.

        Args:
            resumed: of an earlier connection to the same origin, to spare a round trip's work.

        Raises:
            TransportError: nobody is there, or is who it should be.
        """
        self.origin = origin
        self.is_reusable = True
        self.is_used = False  # whether an exchange went over it already
        self.idle_since = 0.0
        self._socket = _connected(origin, timeouts=timeouts, tls=tls, resumed=resumed)

    @property
    def tls_session(self) -> ssl.SSLSession | None:
        """What a later connection can resume."""
        return self._socket.session if isinstance(self._socket, ssl.SSLSocket) else None

    def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            TimeoutError: nothing was taken in time.
            OSError: the connection broke.
        """
        try:
            self._socket.sendall(data)
        except BlockingIOError as error:
            raise TimeoutError from error

    def receive(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty where the other side ended the connection.

        Raises:
            TimeoutError: none came in time.
            OSError: the connection broke.
        """
        try:
            return self._socket.recv(size)
        except BlockingIOError as error:
            raise TimeoutError from error

    def rest(self) -> None:
        """It waits for its next exchange from now on."""
        self.is_used = True
        self.idle_since = time.monotonic()

    def is_fit(self, *, idle_seconds_at_most: float) -> bool:
        """Whether nothing came in its rest, its end included, and the rest was short."""
        if time.monotonic() - self.idle_since > idle_seconds_at_most:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """End it."""
        self.is_reusable = False
        self._socket.close()


class FiberConnection(Connection):
    """A connection for fibers: while one waits for it, its thread goes on with the others.

    To connect, it blocks.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        timeouts: Timeouts,
        tls: ssl.SSLContext,
        resumed: ssl.SSLSession | None,
    ) -> None:
        super().__init__(origin, timeouts=timeouts, tls=tls, resumed=resumed)
        self._socket.setblocking(False)
        self._descriptor = self._socket.fileno()
        self._read_seconds = timeouts.read_seconds
        self._received_bytes = 0  # since it waited last

    def send(self, data: bytes) -> None:
        """See Connection."""
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.EPOLLOUT)
            except ssl.SSLWantReadError:
                self._wait(select.EPOLLIN)

    def receive(self, size: int) -> bytes:
        """See Connection."""
        if self._is_others_turn:
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
        self._descriptor = -1  # the number may be another's at once

    @property
    def _is_others_turn(self) -> bool:
        """Whether to wait before a look: nearly always there is nothing yet, or there is much.

        TLS gives a record of 16 KiB at a time, and may have one already that the kernel does not
        know of.
        """
        if not isinstance(self._socket, ssl.SSLSocket):
            return True
        return self._received_bytes >= RECEIVE_BYTES and not self._socket.pending()

    def _wait(self, events: int) -> None:
        own = fibers.current()
        assert own is not None, "a fiber's connection is used by a fiber"
        if self._descriptor < 0:
            raise OSError(errno.EBADF, "the connection was closed")
        self._received_bytes = 0
        own.wait(self._descriptor, events, seconds=self._read_seconds)


def _connected(
    origin: Origin, *, timeouts: Timeouts, tls: ssl.SSLContext, resumed: ssl.SSLSession | None
) -> socket.socket:
    try:
        # One after the other, all addresses that the name has.
        connected = socket.create_connection(
            (origin.host, origin.port), timeout=timeouts.connect_seconds
        )
    except (OSError, UnicodeError) as error:  # a label of a name may be too long to be encoded
        raise TransportError(
            f"no connection to {origin.host}:{origin.port}: {error}", is_surely_unsent=True
        ) from error
    try:
        # Or the kernel would hold the end of a request back until its beginning is acknowledged.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if origin.scheme == "https":
            connected = tls.wrap_socket(connected, server_hostname=origin.host, session=resumed)
        _limit_waiting(connected, timeouts.read_seconds)
    except (OSError, ValueError) as error:  # a ValueError is a name that TLS can't ask for
        connected.close()
        raise TransportError(
            f"no TLS with {origin.host}:{origin.port}: {error}", is_surely_unsent=True
        ) from error
    return connected


def _limit_waiting(connected: socket.socket, seconds: float) -> None:
    """Let each sending and receiving wait so long.

    With Python's own timeout each is two calls into the kernel, a poll before it, and each call
    gives the interpreter's lock away. The kernel's timeout takes one; under TLS it has no effect.
    """
    if isinstance(connected, ssl.SSLSocket):
        connected.settimeout(seconds)
        return
    connected.settimeout(None)
    whole_seconds, rest = divmod(seconds, 1)
    timeval = struct.pack("ll", int(whole_seconds), int(rest * 1_000_000))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
