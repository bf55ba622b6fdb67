"""Sends requests that no client library sends, byte by byte."""

import socket
from dataclasses import dataclass
from types import TracebackType
from xml.etree import ElementTree

from tests.sandbox.oss import OPEN_BUCKET

TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class RawAnswer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The error's Code."""
        return ElementTree.fromstring(self.body).findtext("Code", "")

    @property
    def ec(self) -> str:
        """The error's EC, a more specific code."""
        return ElementTree.fromstring(self.body).findtext("EC", "")


class RawClient:
    """One connection to the stand-in."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
        self._buffer = b""

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.sock.close()

    def request(
        self,
        method: str,
        target: bytes | str,
        headers: dict[str, str | bytes] | None = None,
        body: bytes = b"",
    ) -> RawAnswer:
        """Send a request to the open bucket, without Content-Length unless `headers` has it."""
        self.send(method, target, headers, body)
        return self.receive(has_body=method != "HEAD")

    def send(
        self,
        method: str,
        target: bytes | str,
        headers: dict[str, str | bytes] | None = None,
        body: bytes = b"",
    ) -> None:
        raw_target = target.encode() if isinstance(target, str) else target
        lines = [b"%s /%s/%s HTTP/1.1" % (method.encode(), OPEN_BUCKET.encode(), raw_target)]
        for name, value in {"Host": "127.0.0.1", **(headers or {})}.items():
            raw_value = value.encode() if isinstance(value, str) else value
            lines.append(b"%s: %s" % (name.encode(), raw_value))
        self.sock.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    def put(self, target: bytes | str, body: bytes, **headers: str) -> RawAnswer:
        """A PUT with the correct Content-Length; `_` in header names stands for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("PUT", target, {"Content-Length": str(len(body)), **named}, body)

    def receive(self, *, has_body: bool = True) -> RawAnswer:
        """The next answer; raises EOFError if the connection ends before the answer does."""
        head = self._until(b"\r\n\r\n").decode()
        status_line, *lines = head.rstrip().split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        status = int(status_line.split(" ")[1])
        length = int(headers.get("content-length", "0")) if has_body else 0
        while len(self._buffer) < length:
            self._read_more()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return RawAnswer(status, headers, body)

    def is_closed_by_peer(self) -> bool:
        """Wait until the server closes the connection; False if it sends something instead."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def _until(self, end: bytes) -> bytes:
        while (at := self._buffer.find(end)) < 0:
            self._read_more()
        at += len(end)
        found, self._buffer = self._buffer[:at], self._buffer[at:]
        return found

    def _read_more(self) -> None:
        more = self.sock.recv(1 << 16)
        if not more:
            raise EOFError("the server closed the connection")
        self._buffer += more
