"""One HTTP/1.1 connection, with a parser of its own; bodies pass through one shared buffer."""

import asyncio
import hashlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from benchmarks.neutral.framing import Chunks, Framing, Length, Sink, WithoutChunks
from benchmarks.neutral.pattern import CRC64

if TYPE_CHECKING:
    from benchmarks.neutral.server import Server

KEPT_BYTES = 64 * 1024
LARGEST_HEAD_BYTES = 64 * 1024
_QUEUED_BYTES = 1024**2  # the transport's write buffer, per connection

# Shared by all connections: the loop hands over the data before it reads from the next connection.
_BUFFER = memoryview(bytearray(256 * 1024))

_REASONS = {
    **{100: "Continue", 200: "OK", 204: "No Content", 206: "Partial Content"},
    **{400: "Bad Request", 404: "Not Found", 412: "Precondition Failed"},
    **{416: "Range Not Satisfiable", 501: "Not Implemented"},
}
_request_ids = itertools.count(1)


class Request:
    """The head of a request, and its body once it has arrived."""

    __slots__ = ("_lower", "body", "head", "host", "method", "path", "query")

    def __init__(self, head: bytes) -> None:
        self.head = head
        self._lower = head.lower()
        method, target, _ = head[: head.index(b"\r\n")].split(b" ", 2)
        self.method = method.decode()
        path, _, query = target.decode("latin-1").partition("?")
        self.path = unquote(path) if "%" in path else path
        self.query = _query(query) if query else {}
        self.host = self.header(b"host")
        self.body: Body = NO_BODY

    def header(self, name: bytes) -> str:
        """The header's value, empty if there is none; `name` must be in lower case."""
        start = self._lower.find(b"\r\n" + name + b":")
        if start < 0:
            return ""
        start += len(name) + 3
        return self.head[start : self.head.index(b"\r\n", start)].strip().decode("latin-1")


class Body:
    """A request's body, measured as it arrives; its bytes are kept if it is small or `whole`."""

    __slots__ = ("_chunks", "_md5", "_whole", "crc64", "size_bytes")

    def __init__(self, *, whole: bool = False, md5: bool = False) -> None:
        self.size_bytes = 0
        self.crc64: int = 0
        self._whole = whole
        self._md5 = hashlib.md5() if md5 else None
        self._chunks: list[bytes] = []

    def feed(self, data: memoryview) -> None:
        self.size_bytes += len(data)
        if self._whole or self.size_bytes <= KEPT_BYTES:
            self._chunks.append(bytes(data))
        if not self._whole:
            self.crc64 = CRC64.calc(data, self.crc64)
            if self._md5 is not None:
                self._md5.update(data)

    @property
    def data(self) -> bytes | None:
        """The whole body; None if it was not kept."""
        if self._whole or self.size_bytes <= KEPT_BYTES:
            return b"".join(self._chunks)
        return None

    @property
    def md5(self) -> str:
        assert self._md5 is not None
        return self._md5.hexdigest()


NO_BODY = Body()


class Connection(asyncio.BufferedProtocol):
    """Passes requests to the server's `begin` and `finish`, which calls `answer`."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._head = b""
        self._request: Request | None = None
        self._framing: Framing = Length(0)
        self._sink: Sink = NO_BODY
        self._is_paused = False
        self._due = 0.0
        self._outgoing: deque[Iterator[memoryview]] = deque()
        self._is_new = True
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class is not a subclass
        self._transport.set_write_buffer_limits(high=_QUEUED_BYTES)
        self._server.counts.connections += 1

    def get_buffer(self, sizehint: int) -> memoryview:
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self._server.counts.bytes_in += nbytes
        data = _BUFFER[:nbytes]
        if self._request is not None:
            data = self._take_body(self._request, data)
        while data:
            self._head += bytes(data)
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                if len(self._head) > LARGEST_HEAD_BYTES:
                    self._transport.close()
                return
            head, rest = self._head[: end + 2], self._head[end + 4 :]
            self._head = b""
            data = self._take_head(Request(head), memoryview(rest))

    def _take_head(self, request: Request, data: memoryview) -> memoryview:
        if request.header(b"transfer-encoding"):
            self._framing = Chunks()
        else:
            self._framing = Length(int(request.header(b"content-length") or 0))
        self._server.begin(request)
        self._request = request
        self._sink = request.body
        if request.header(b"content-encoding").startswith("aws-chunked"):
            self._sink = WithoutChunks(request.body)
        expects_continue = request.header(b"expect").lower() == "100-continue"
        if expects_continue and not data and not self._framing.is_over:
            self._send_delayed(iter([memoryview(b"HTTP/1.1 100 Continue\r\n\r\n")]))
        return self._take_body(request, data)

    def _take_body(self, request: Request, data: memoryview) -> memoryview:
        """Consume the body's bytes; returns the bytes after the body."""
        rest = self._framing.take(data, self._sink)
        if self._framing.is_over:
            self._request = None
            self._server.finish(request, self)
        return rest

    def answer(
        self,
        status: int,
        body: bytes | Iterator[memoryview] = b"",
        *,
        headers: str = "",
        length_bytes: int | None = None,
        at_once: bool = False,
    ) -> None:
        """Answer after the simulated delay, or at once. `headers` are complete lines.

        `length_bytes` is needed for a body in pieces, and for a HEAD, whose body is not sent.
        """
        if length_bytes is None:
            assert isinstance(body, bytes)
            length_bytes = len(body)
        number = f"{next(_request_ids):016X}"
        head = (
            f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\n"
            f"Date: {_date()}\r\nServer: neutral\r\nx-amz-request-id: {number}\r\n"
            f"x-oss-request-id: {number}\r\n{headers}Content-Length: {length_bytes}\r\n\r\n"
        ).encode("latin-1")
        if isinstance(body, bytes):
            pieces: Iterator[memoryview] = iter((memoryview(head + body),))
        else:
            pieces = itertools.chain((memoryview(head),), body)
        if at_once:
            self._send(pieces)
        else:
            self._send_delayed(pieces)

    def _send_delayed(self, pieces: Iterator[memoryview]) -> None:
        delay = self._server.delay_seconds
        if not delay and not self._due:
            self._send(pieces)
            return
        loop = self._server.loop
        round_trips = 2 if self._is_new else 1
        self._is_new = False
        # An answer must not overtake an earlier answer on the same connection.
        self._due = max(loop.time() + round_trips * delay, self._due)
        loop.call_at(self._due, self._send, pieces)

    def _send(self, pieces: Iterator[memoryview]) -> None:
        self._is_new = False
        self._outgoing.append(pieces)
        self._pump()

    def _pump(self) -> None:
        while self._outgoing and not self._is_paused:
            piece = next(self._outgoing[0], None)
            if piece is None:
                self._outgoing.popleft()
            else:
                self._server.counts.bytes_out += len(piece)
                self._transport.write(piece)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._pump()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self._outgoing.clear()
        self._is_paused = True


def _query(text: str) -> dict[str, str]:
    found = {}
    for part in text.split("&"):
        name, _, value = part.partition("=")
        if "%" in value or "+" in value:
            value = unquote(value.replace("+", " "))
        found[name] = value
    return found


def _cached_by_second(make: Callable[[int], str]) -> Callable[[], str]:
    known = (0, "")

    def now() -> str:
        nonlocal known
        second = int(time.time())
        if known[0] != second:
            known = (second, make(second))
        return known[1]

    return now


_date = _cached_by_second(lambda second: formatdate(second, usegmt=True))
