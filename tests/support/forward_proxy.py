"""A forward proxy on loopback: CONNECT for https, requests with absolute URLs for http."""

import re
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_REFUSED = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


class ForwardProxy:
    """Records what it is asked for: `CONNECT host:port`, or a method with an absolute URL.

    Args:
        login: the value of Proxy-Authorization that it requires; empty for none.
        names: addresses of host names, by name; the proxy knows them, and the tests' host doesn't.
    """

    def __init__(self, *, login: str = "", names: Mapping[str, str] | None = None) -> None:
        self.requests: list[str] = []
        self._login = login
        self._names = names or {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, name="forward-proxy", daemon=True).start()

    @property
    def address(self) -> str:
        """The host and port."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        for each in [self._listener, *self._open]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            # One request with an absolute URL after the other, or one tunnel.
            received = b""
            while True:
                while b"\r\n\r\n" not in received:
                    if not (data := client.recv(65536)):
                        return
                    received += data
                head, _, received = received.partition(b"\r\n\r\n")
                method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
                self.requests.append(f"{method} {target}")
                if self._login and f"Proxy-Authorization: {self._login}".encode() not in head:
                    client.sendall(_REFUSED)
                    return
                if method == "CONNECT":
                    host, _, port = target.rpartition(":")
                    with self._connect(host, int(port)) as server:
                        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                        _pass_on(client, server)
                    return
                received = self._forward(client, head, received, target)

    def _forward(self, client: socket.socket, head: bytes, received: bytes, target: str) -> bytes:
        """Pass one request and its answer on; returns what follows the request."""
        length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
        while length and len(received) < int(length[1]):
            received += client.recv(65536)
        url = urlsplit(target)
        assert url.scheme == "http", f"not an absolute URL: {target}"
        path = target.partition(url.netloc)[2] or "/"
        lines = [
            b"%b %b HTTP/1.1" % (head.split(b" ")[0], path.encode()),
            *(line for line in head.split(b"\r\n")[1:] if not line.startswith(b"Proxy-")),
            b"Connection: close",
        ]
        body_end = int(length[1]) if length else 0
        with self._connect(url.hostname or "", url.port or 80) as server:
            server.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + received[:body_end])
            while data := server.recv(65536):
                client.sendall(data)
        if b"HEAD" not in head[:4]:
            client.shutdown(socket.SHUT_WR)  # the answer may end with its connection
        return received[body_end:]

    def _connect(self, host: str, port: int) -> socket.socket:
        server = socket.create_connection((self._names.get(host, host), port), timeout=10)
        self._open.append(server)
        return server


def _pass_on(client: socket.socket, server: socket.socket) -> None:
    other = {client: server, server: client}
    while True:
        for ready in select.select([client, server], [], [])[0]:
            if not (data := ready.recv(65536)):
                return
            other[ready].sendall(data)


@contextmanager
def forward_proxy(
    *, login: str = "", names: Mapping[str, str] | None = None
) -> Iterator[ForwardProxy]:
    """A proxy that runs on a loopback port until the context ends."""
    proxy = ForwardProxy(login=login, names=names)
    try:
        yield proxy
    finally:
        proxy.close()
