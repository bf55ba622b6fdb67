"""A TCP proxy on loopback that cuts, freezes, slows down or refuses connections, on demand."""

import contextlib
import random
import socket
import struct
import threading
from types import TracebackType
from typing import Self

CHUNK_BYTES = 16_384
LONGEST_ANSWER_BYTES = 60_000  # a cut connection breaks within this many bytes of answers


SLOW_CHUNK_BYTES = 256


class UnreliableProxy:
    """A proxy between clients and `upstream_port`, until the context ends.

    `cut` breaks the present connections and a number of later ones: each later one is closed or
    reset after some bytes of answers. `seed` decides how, and after how many bytes. `freeze` lets
    the present connections stand and passes nothing more on them, not even their end, as after a
    failover without a reset. While `is_down`, new connections are closed at once. Answers are
    passed on at `bytes_per_second`, or at full speed if that is None.
    """

    def __init__(self, upstream_port: int, *, seed: int = 0) -> None:
        self.upstream_port = upstream_port
        self.is_down = False
        self.bytes_per_second: float | None = None
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._cuts = 0
        self.answered_bytes = 0  # the bytes of all answers that were passed on
        self._sockets: set[socket.socket] = set()
        self._frozen: set[socket.socket] = set()
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="proxy-accept", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._is_over.set()
        self.break_all()

    def cut(self, connections: int) -> None:
        """Break all present connections, and the next `connections` ones; 0 breaks no later one."""
        with self._lock:
            self._cuts = connections
        self.break_all()

    def freeze(self) -> int:
        """Pass nothing more on the present connections; returns how many sockets they have."""
        with self._lock:
            self._frozen |= self._sockets
            return len(self._frozen)

    def take_down(self) -> None:
        """Break all connections and refuse new ones, until `is_down` is false."""
        self.is_down = True
        self.break_all()

    def break_all(self) -> None:
        """Close every connection, even in the middle of an answer."""
        with self._lock:
            sockets = list(self._sockets)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.is_down:
                client.close()
                continue
            try:
                upstream = socket.create_connection(("127.0.0.1", self.upstream_port))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets |= {client, upstream}
            allowance = self._allowance()
            for target, arguments in (
                (self._forward, (client, upstream)),
                (self._answer, (upstream, client, allowance)),
            ):
                threading.Thread(target=target, args=arguments, daemon=True).start()

    def _allowance(self) -> int | None:
        with self._lock:
            if not self._cuts:
                return None
            self._cuts -= 1
            return self._random.randrange(LONGEST_ANSWER_BYTES)

    def _forward(self, client: socket.socket, upstream: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(CHUNK_BYTES):
                if client not in self._frozen:
                    upstream.sendall(data)
        if client in self._frozen:
            self._is_over.wait()
        with contextlib.suppress(OSError):
            upstream.shutdown(socket.SHUT_RDWR)

    def _answer(self, upstream: socket.socket, client: socket.socket, left: int | None) -> None:
        """Pass answers on, at most `left` bytes unless it is None; then close both sockets."""
        with contextlib.suppress(OSError):
            while data := upstream.recv(CHUNK_BYTES if not self._is_slow else SLOW_CHUNK_BYTES):
                self._slow_down(len(data))
                if upstream in self._frozen:
                    continue
                if left is not None and len(data) > left:
                    client.sendall(data[:left])
                    if left % 2:
                        linger = struct.pack("ii", 1, 0)  # makes close() send a reset
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    break
                left = None if left is None else left - len(data)
                client.sendall(data)
                with self._lock:
                    self.answered_bytes += len(data)
        if upstream in self._frozen:
            self._is_over.wait()
        with self._lock:
            self._sockets -= {client, upstream}
        for one in (upstream, client):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    @property
    def _is_slow(self) -> bool:
        return self.bytes_per_second is not None

    def _slow_down(self, size_bytes: int) -> None:
        if self.bytes_per_second is not None:
            self._is_over.wait(size_bytes / self.bytes_per_second)
