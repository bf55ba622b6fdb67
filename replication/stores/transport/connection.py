"""One connection to a server: it sends and receives bytes, and each wait has a time limit."""

import errno
import select
import ssl
import time

from replication.stores.transport import fibers
from replication.stores.transport.connecting import connect
from replication.stores.transport.door import Door
from replication.stores.transport.pace import Limits, Pace
from replication.stores.transport.routes import Origin, Proxy

# How much of a long body one system call moves. More gained nothing, less cost CPU.
RECEIVE_BYTES = SEND_BYTES = 256 * 1024

_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Connection:
    """A connected socket, for one thread at a time. Each wait blocks that thread."""

    def __init__(
        self,
        origin: Origin,
        *,
        limits: Limits,
        tls: ssl.SSLContext,
        session: ssl.SSLSession | None = None,
        proxy: Proxy | None = None,
        door: Door | None = None,
    ) -> None:
        """Connect. This blocks the calling thread, also in a fiber: see `fibers.run_blocking`.

        Args:
            session, proxy, door: see `connecting.connect`.

        Raises:
            TransportError: see `connecting.connect`.
        """
        self.origin = origin
        self.is_reusable = True
        self.was_used = False  # whether an exchange has gone over it
        self.idle_since = 0.0
        self.pace = Pace(limits)
        self._read_seconds = limits.read_seconds
        self._received_bytes = 0  # since the last wait
        self._wanted = select.POLLIN  # what the last `receive_now` must wait for
        self._socket = connect(
            origin,
            proxy=proxy,
            door=door,
            seconds=limits.connect_seconds,
            tls=tls,
            session=session,
        )
        self._descriptor = self._socket.fileno()
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)

    @property
    def tls_session(self) -> ssl.SSLSession | None:
        """The session for a later connection to resume; None without TLS."""
        return self._socket.session if isinstance(self._socket, ssl.SSLSocket) else None

    def send(self, data: memoryview) -> memoryview:
        """Send `data`, and return the rest that was not sent because bytes came from the server.

        Raises:
            TimeoutError: the other side did not accept the data in time.
            TooSlow: it accepts the data too slowly.
            OSError: the connection broke.
        """
        while data:
            try:
                sent = self._socket.send(data)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)
            except (BlockingIOError, ssl.SSLWantWriteError):
                if self._wait(select.POLLIN | select.POLLOUT) != select.POLLOUT:
                    return data
            else:
                self.pace.moved(sent)
                data = data[sent:]
        return data

    def receive(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; empty if the other side ended the connection.

        Raises:
            TimeoutError: no bytes came in time.
            TooSlow: they come too slowly.
            OSError: the connection broke.
        """
        if self._waits_before_receiving:
            self._wait(select.POLLIN)
        while True:
            data = self.receive_now(size)
            if data is not None:
                return data
            self._wait(self._wanted)

    def receive_now(self, size: int) -> bytes | None:
        """Return the bytes that are here, at most `size`; None if there are none.

        Raises:
            OSError: the connection broke.
        """
        try:
            data = self._socket.recv(size)
        except _WOULD_BLOCK as error:
            is_write = isinstance(error, ssl.SSLWantWriteError)
            self._wanted = select.POLLOUT if is_write else select.POLLIN
            return None
        self.pace.moved(len(data))
        self._received_bytes += len(data)
        return data

    def has_bytes(self) -> bool:
        """Whether the server sent bytes that were not received, or ended the connection."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        return bool(self._readable.poll(0))

    def end_exchange(self) -> None:
        """Note that an exchange is over, and that the connection is idle from now on."""
        self.was_used = True
        self.idle_since = time.monotonic()

    def is_usable(self, *, idle_seconds_at_most: float) -> bool:
        """Whether it was idle for a short time only, and the server neither sent nor closed."""
        return time.monotonic() - self.idle_since <= idle_seconds_at_most and not self.has_bytes()

    def close(self) -> None:
        """Close the connection."""
        self.is_reusable = False
        self._socket.close()
        self._descriptor = -1  # the kernel may give the number to another file at once

    @property
    def _waits_before_receiving(self) -> bool:
        """Whether to wait, and to let other fibers run, before trying to receive.

        Without TLS always: nearly always no data is there yet, or so much that other fibers must
        have a turn. TLS returns one record of 16 KiB at a time, and may hold a record that epoll
        can't see: so wait only after RECEIVE_BYTES, and not while TLS holds data.
        """
        if not isinstance(self._socket, ssl.SSLSocket):
            return True
        return self._received_bytes >= RECEIVE_BYTES and not self._socket.pending()

    def _wait(self, events: int) -> int:
        """Wait for one of these events (select.POLLIN, …), and return those that came."""
        if self._descriptor < 0:
            raise OSError(errno.EBADF, "the connection was closed")
        self._received_bytes = 0
        self.pace.check()
        began = time.monotonic()
        try:
            return self._wait_for(events)
        finally:
            self.pace.waited(time.monotonic() - began)

    def _wait_for(self, events: int) -> int:
        poll = select.poll()
        poll.register(self._socket, events)
        came = poll.poll(self._read_seconds * 1000)
        if not came:
            raise TimeoutError
        return came[0][1]


class FiberConnection(Connection):
    """A connection for fibers: while one fiber waits for its socket, the thread runs the others."""

    def _wait_for(self, events: int) -> int:
        own = fibers.current()
        assert own is not None, "a FiberConnection is used outside of a fiber"
        return own.wait(self._descriptor, events, seconds=self._read_seconds)
