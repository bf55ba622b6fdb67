"""A minimal HTTP/1.1 server connection: reads requests and writes answers on a socket."""

import contextlib
import select
import socket
import struct
import time
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from sandbox.oss.blobs import READ_BYTES, Content, blob_of

ABSOLUTE = "http://"
HEAD_BYTES = 64 << 10
IDLE_SECONDS = 60  # OSS closes an idle connection after a minute
DRAIN_BYTES = 64 << 20
DRAIN_SECONDS = 1.0
PACE_SECONDS = 0.1
READ_AHEAD_BYTES = 8 << 20
# Linux alone tells that the client has closed its side while bytes are left to read.
CLIENT_GONE = getattr(select, "POLLRDHUP", 0)
EMPTY = Content((), 0, 0)

REASONS = {
    200: "OK",
    204: "No Content",
    206: "Partial Content",
    304: "Not Modified",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    411: "Length Required",
    412: "Precondition Failed",
    416: "Requested Range Not Satisfiable",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class ClientGoneError(Exception):
    """The client closed the connection or stopped sending before its request was complete."""


class BadRequestError(Exception):
    """The bytes are not an HTTP/1.1 request; the connection must be closed."""


@dataclass(slots=True)
class RequestHead:
    """A request line and its headers; header names are in lower case.

    Text is UTF-8 with surrogate escapes, so that the exact bytes can be restored for signing.
    """

    method: str
    raw_path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(slots=True)
class Answer:
    """An answer with a short `body`, or with `length` bytes of `content` from `start`.

    Without either, `length` is the Content-Length of a HEAD's answer. A fault sets the last two.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    content: Content | None = None
    start: int = 0
    length: int = 0
    bytes_per_second: float | None = None
    truncate_bytes: int | None = None

    @property
    def declared_bytes(self) -> int:
        """The Content-Length."""
        return self.length or len(self.body)


def parse_head(block: bytes) -> RequestHead:
    """Parse a request's head; repeated headers are joined with a comma. Raises BadRequestError."""
    lines = block.decode("utf-8", "surrogateescape").split("\r\n")
    try:
        method, target, version = lines[0].split(" ")
    except ValueError:
        raise BadRequestError(f"not a request line: {lines[0][:80]!r}") from None
    host = None
    if target.startswith(ABSOLUTE):
        # A client sends the whole URL to what it takes for a proxy.
        host, slash, path = target.removeprefix(ABSOLUTE).partition("/")
        target = slash + path
    if not version.startswith("HTTP/1.") or not target.startswith("/"):
        raise BadRequestError(f"not an HTTP/1.1 request: {lines[0][:80]!r}")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name[-1] in " \t" or name[0] in " \t":
            raise BadRequestError(f"not a header line: {line[:80]!r}")
        name = name.lower()
        value = value.strip(" \t")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    if host is not None:
        headers["host"] = host
    raw_path, _, raw_query = target.partition("?")
    return RequestHead(method, raw_path, parse_query(raw_query) if raw_query else {}, headers)


def parse_query(raw_query: str) -> dict[str, str]:
    """The decoded parameters; a missing value is the empty string, `+` is a space."""
    query: dict[str, str] = {}
    for pair in raw_query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            query[unquote_plus(name, errors="surrogateescape")] = unquote_plus(
                value, errors="surrogateescape"
            )
    return query


class Connection:
    """One client's socket, with buffered reads; a small answer is sent in one write."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received_bytes = 0
        self.sent_bytes = 0
        self._buffer = b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(IDLE_SECONDS)

    def read_head(self) -> RequestHead | None:
        """The next request's head; None if the client closes the connection or stays idle."""
        buffer = self._buffer
        while (end := buffer.find(b"\r\n\r\n")) < 0:
            if len(buffer) > HEAD_BYTES:
                raise BadRequestError("the request's head is too long")
            try:
                more = self.sock.recv(READ_BYTES)
            except OSError:
                return None
            if not more:
                return None
            buffer += more
        self._buffer = buffer[end + 4 :]
        self.received_bytes = 0
        self.sent_bytes = 0
        return parse_head(buffer[:end].lstrip(b"\r\n"))

    def read_some(self, limit: int) -> bytes:
        """Between 1 and `limit` bytes of a body; raises ClientGoneError."""
        chunk = self._buffer
        if chunk:
            if len(chunk) > limit:
                chunk, self._buffer = chunk[:limit], chunk[limit:]
            else:
                self._buffer = b""
        else:
            try:
                chunk = self.sock.recv(min(limit, READ_BYTES))
            except OSError as error:
                raise ClientGoneError("the client stopped sending in the body") from error
            if not chunk:
                raise ClientGoneError("the client closed before the body was complete")
        self.received_bytes += len(chunk)
        return chunk

    def read_ahead(self) -> None:
        """Take in what the client has sent, without waiting, and READ_AHEAD_BYTES at most."""
        self.sock.settimeout(0)
        with contextlib.suppress(OSError):  # no bytes, or a reset: the next read tells which
            while len(self._buffer) < READ_AHEAD_BYTES and (more := self.sock.recv(READ_BYTES)):
                self._buffer += more
        self.sock.settimeout(IDLE_SECONDS)

    def is_gone(self) -> bool:
        """Whether the client has closed or reset the connection; any thread may ask."""
        if self.sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self.sock, CLIENT_GONE)
        return bool(poll.poll(0))

    def read_line(self) -> bytes:
        """One line of a chunked body without its CRLF; raises ClientGoneError."""
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > HEAD_BYTES:
                raise BadRequestError("a line of the chunked body is too long")
            try:
                more = self.sock.recv(READ_BYTES)
            except OSError as error:
                raise ClientGoneError("the client stopped sending in the body") from error
            if not more:
                raise ClientGoneError("the client closed before the body was complete")
            self._buffer += more
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        return line

    def send(self, data: bytes) -> None:
        """Send all of `data`; raises ClientGoneError."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise ClientGoneError("the client closed before the answer was complete") from error
        self.sent_bytes += len(data)

    def send_continue(self) -> None:
        """Answer `Expect: 100-continue`."""
        self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.sent_bytes = 0

    def send_answer(self, head: bytes, answer: Answer) -> bool:
        """Send `head` and the answer's body; False if a fault truncated the body."""
        content = answer.content
        if content is None:
            content = Content.join((blob_of(answer.body),)) if answer.body else EMPTY
            length = len(answer.body)
        else:
            length = answer.length
        limit = length if answer.truncate_bytes is None else min(length, answer.truncate_bytes)
        if answer.bytes_per_second:
            self.send(head)
            self._send_slowly(content, answer.start, limit, answer.bytes_per_second)
        else:
            self._send_content(head, content, answer.start, limit)
        return limit == length

    def _send_slowly(self, content: Content, start: int, length: int, pace: float) -> None:
        step = max(1, int(pace * PACE_SECONDS))
        for at in range(0, length, step):
            size = min(step, length - at)
            time.sleep(size / pace)
            self._send_content(b"", content, start + at, size)

    def _send_content(self, head: bytes, content: Content, start: int, length: int) -> None:
        for piece in content.pieces(start, length):
            if piece.blob.path is None:
                # Send the first piece together with the head: a small answer is one write.
                self.send(head + piece.blob.data[piece.offset : piece.offset + piece.size])
                head = b""
                continue
            self.send(head)
            head = b""
            with piece.open() as file:
                try:
                    self.sent_bytes += self.sock.sendfile(file, piece.offset, piece.size)
                except OSError as error:
                    raise ClientGoneError("the client closed in the answer") from error
        if head:
            self.send(head)

    def reset(self) -> None:
        """Close with RST, as a broken network does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def linger(self) -> None:
        """Stop sending, and read what the client still sends before the socket is closed.

        Otherwise an answer sent before the body was read can be lost.
        """
        try:
            self.sock.shutdown(socket.SHUT_WR)
            self.sock.settimeout(DRAIN_SECONDS)
            drained = 0
            while drained < DRAIN_BYTES and (chunk := self.sock.recv(READ_BYTES)):
                drained += len(chunk)
        except OSError:
            return
