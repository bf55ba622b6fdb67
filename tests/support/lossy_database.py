"""A TCP proxy before PostgreSQL that loses answers: the statement is committed, its caller is cut.

The proxy passes everything on, except some of the answers that end outside of a transaction. By
then PostgreSQL has committed. Such an answer is thrown away, and the connection is closed.
"""

import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import connection

CHUNK_BYTES = 65_536
READY_FOR_QUERY = b"Z"
NO_TRANSACTION = b"I"  # https://www.postgresql.org/docs/current/protocol-message-formats.html


class LossyProxy:
    """A proxy for the connections of one thread, which come one after the other.

    `share` of the answers are lost; `seed` decides which. `losses` counts them.
    """

    def __init__(self, upstream: tuple[str, int], *, share: float, seed: int) -> None:
        self._upstream = upstream
        self._share = share
        self._random = random.Random(seed)
        self.losses = 0

    def __enter__(self) -> "LossyProxy":
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name="lossy-proxy", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, socket.create_connection(self._upstream) as upstream:
                for one in (client, upstream):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                forward = threading.Thread(target=_forward, args=(client, upstream), daemon=True)
                forward.start()
                with suppress(OSError):
                    self._answer(upstream, client)
                for one in (client, upstream):
                    with suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)
                forward.join()

    def _answer(self, upstream: socket.socket, client: socket.socket) -> None:
        """Pass the answers on until one is lost or the connection ends."""
        is_greeting = True  # the first answer is the one to the login
        for answer, is_committed in _answers(upstream):
            if is_committed and not is_greeting and self._random.random() < self._share:
                self.losses += 1
                return
            client.sendall(answer)
            is_greeting = False


@contextmanager
def losing_answers(*, share: float, seed: int) -> Iterator[LossyProxy]:
    """Lead this thread's database connection through a proxy that loses answers."""
    direct = connection.settings_dict
    connection.close()
    with LossyProxy((direct["HOST"], int(direct["PORT"])), share=share, seed=seed) as proxy:
        plain = {"sslmode": "disable", "gssencmode": "disable"}  # for the proxy to read along
        connection.settings_dict = {
            **direct,
            "HOST": "127.0.0.1",
            "PORT": proxy.port,
            "OPTIONS": {**direct["OPTIONS"], **plain},
        }
        try:
            yield proxy
        finally:
            connection.close()
            connection.settings_dict = direct


def _forward(client: socket.socket, upstream: socket.socket) -> None:
    with suppress(OSError):
        while data := client.recv(CHUNK_BYTES):
            upstream.sendall(data)
    with suppress(OSError):
        upstream.shutdown(socket.SHUT_WR)


def _answers(upstream: socket.socket) -> Iterator[tuple[bytes, bool]]:
    """Whole messages as they come, and whether they end an answer outside of a transaction.

    A message is a byte for its kind, and four for its length without that byte. What comes before
    the answer's end is kept back, so that an answer is lost as a whole.
    """
    received, answer = b"", b""
    while data := upstream.recv(CHUNK_BYTES):
        received += data
        while len(received) >= 5:
            end = 1 + int(struct.unpack("!I", received[1:5])[0])
            if len(received) < end:
                break
            message, received = received[:end], received[end:]
            answer += message
            if message[:1] == READY_FOR_QUERY:
                yield answer, message[5:6] == NO_TRANSACTION
                answer = b""
            elif message[:1] in b"RAN":
                # The login waits for the client, and notifications and notices for no answer.
                yield answer, False
                answer = b""
