"""Reads a server's answer: the head at once, the body on demand."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

import httptools

from replication.stores.transport.connection import Connection
from replication.stores.transport.errors import (
    AnswerBroken,
    NoAnswer,
    TooSlow,
    TransportError,
)
from replication.stores.transport.headers import Headers

MAX_HEAD_BYTES = 64 * 1024  # status line and headers
# A page of a listing, with keys that are URL-encoded, is a few MiB.
MAX_BYTES_IN_MEMORY = 16 * 1024**2


class Answer:
    """A server's answer. Always close it; once the body is read to its end, that does nothing.

    Nothing is read beyond the end of the message. If more bytes are there already, the connection
    is not used again, for they could be taken for the next answer.
    """

    def __init__(
        self, connection: Connection, *, method: str, release: Callable[[Connection], None]
    ) -> None:
        """
        Args:
            method: of the request. An answer to a HEAD has no body.
            release: is given the connection once the answer is complete.
        """
        self.status = 0
        self.headers = Headers()
        self.has_head = False  # whether the final head is complete
        self._connection = connection
        self._release = release
        self._has_body = method != "HEAD"
        self._unread = b""  # bytes of the body that were received, but not read by the caller
        # How many bytes of the body are still to come; None if the head gives no length. With a
        # length, the body bypasses the parser, which would copy each byte once more.
        self._remaining_bytes: int | None = None
        self._head_bytes = 0
        self._head_tail = b""  # the last bytes of the head so far: its end may be split
        self._is_complete = self._is_closed = False
        self._parser = httptools.HttpResponseParser(self)
        # User metadata may hold any characters. The end of a field stays strict.
        self._parser.set_dangerous_leniencies(lenient_headers=True)

    def read_head(self) -> None:
        """Read the head, unless it is complete.

        Raises:
            TransportError: the head did not come, or is not HTTP.
        """
        while not self.has_head:
            self._take(self._receive(MAX_HEAD_BYTES))
        self._release_if_complete()

    def hear(self) -> None:
        """Take what the server has sent already, while the request is still being sent.

        Raises:
            TransportError: what came is not HTTP, or the connection ended.
        """
        if not self.has_head:
            try:
                data = self._connection.receive_now(MAX_HEAD_BYTES)
            except OSError as error:
                raise self._broken(f"the connection broke: {error}") from error
            if data is not None:
                self._take(data)

    def read(self, size: int) -> bytes:
        """Return the next bytes of the body as they come, at most `size`; empty at the end.

        Raises:
            AnswerBroken: the connection ended before the body.
            TransportError: no bytes came within the read timeout, or they came too slowly.
        """
        while not self._unread and not self._is_complete:
            remaining = self._remaining_bytes
            self._take(self._receive(size if remaining is None else min(size, remaining)))
        data, self._unread = self._unread[:size], self._unread[size:]
        self._release_if_complete()
        return data

    def read_beginning(self, size: int) -> bytes:
        """Return the first bytes of the body, at most `size`; fewer only if it has no more.

        Raises:
            TransportError: as for `read`.
        """
        pieces = []
        while size and (data := self.read(size)):
            pieces.append(data)
            size -= len(data)
        return b"".join(pieces)

    def peek(self, size: int) -> bytes:
        """As `read_beginning`, but later reads return these bytes again."""
        beginning = self.read_beginning(size)
        self._unread = beginning + self._unread
        return beginning

    def read_all(self, *, at_most: int = MAX_BYTES_IN_MEMORY) -> bytes:
        """Return the whole body.

        Raises:
            TransportError: as for `read`, or the body is longer than `at_most` bytes.
        """
        body = self.read_beginning(at_most + 1)
        if len(body) > at_most:
            self.close()
            raise TransportError(f"the answer is longer than {at_most} bytes")
        return body

    def close(self) -> None:
        """Stop reading. This closes the connection, unless the whole answer was received."""
        if self._is_closed:
            return
        self._is_closed = True
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- receiving -----------------------------------------------------------------------------

    def _receive(self, size: int) -> bytes:
        try:
            return self._connection.receive(size)
        except TooSlow:
            self.close()
            raise
        except TimeoutError as error:
            self.close()
            raise TransportError("the server sent no bytes within the read timeout") from error
        except OSError as error:
            raise self._broken(f"the connection broke: {error}") from error

    def _take(self, data: bytes) -> None:
        """Parse what was received; nothing at all is the end of the connection."""
        if not data:
            self._note_end()
            return
        while data and not self.has_head:
            head, data = self._split_head(data)
            self._head_bytes += len(head)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.close()
                raise TransportError(f"the answer's headers exceed {MAX_HEAD_BYTES} bytes")
            self._parse(head)
        if self._is_complete or not self._has_body:
            self._note_surplus(data)
        elif self._remaining_bytes is not None:
            self._note_surplus(data[self._remaining_bytes :])
            self.on_body(data[: self._remaining_bytes])
        elif data:
            self._parse(data)

    def _split_head(self, data: bytes) -> tuple[bytes, bytes]:
        """Split into the bytes of the head, or of an interim answer's, and those that follow."""
        joined = self._head_tail + data
        end = joined.find(b"\r\n\r\n")
        if end < 0:
            self._head_tail = joined[-3:]
            return data, b""
        end += 4 - len(self._head_tail)
        self._head_tail = b""
        return data[:end], data[end:]

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._is_complete:
                self.close()
                raise TransportError(f"the answer is not valid HTTP: {error}") from error
            self._note_surplus(data)

    def _note_surplus(self, data: bytes) -> None:
        if data:
            self._connection.is_reusable = False

    def _note_end(self) -> None:
        # Without either header, the end of the connection is the end of the body.
        has_end = "content-length" in self.headers or "transfer-encoding" in self.headers
        if not self.has_head or has_end:
            raise self._broken("the connection was closed before the answer was complete")
        self._connection.is_reusable = False
        self._is_complete = True

    def _broken(self, reason: str) -> TransportError:
        self.close()
        return AnswerBroken(reason) if self._head_bytes else NoAnswer(reason)

    def _release_if_complete(self) -> None:
        if self._is_complete and not self._is_closed:
            self._is_closed = True
            self._release(self._connection)

    # -- callbacks of httptools ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.has_head:  # a second answer after the end of this one
            self._connection.is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.has_head:  # a trailer of a chunked body, or a second answer
            return
        fields = self.headers.lower
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text

    def on_headers_complete(self) -> None:
        if self.has_head:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:  # an interim answer: the final one follows
            self.headers.lower.clear()
            return
        self.has_head = True
        if not self._parser.should_keep_alive():
            self._connection.is_reusable = False
        if not self._has_body:
            self._is_complete = True
        elif "transfer-encoding" not in self.headers.lower:
            length = self.headers.get("content-length", "")
            self._remaining_bytes = int(length) if length.isdecimal() else None

    def on_body(self, data: bytes) -> None:
        if self._is_complete:
            return
        self._unread = self._unread + data if self._unread else data
        if self._remaining_bytes is not None:
            self._remaining_bytes -= len(data)
            self._is_complete = self._remaining_bytes <= 0

    def on_message_complete(self) -> None:
        if self.has_head:
            self._is_complete = True
