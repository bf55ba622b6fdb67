"""Reads a server's answer: the head at once, the body on demand."""

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Self, TypeVar

import httptools

from replication.stores.transport.connection import RECEIVE_BYTES, Connection
from replication.stores.transport.errors import AnswerBroken, NoAnswer, TransportError

MAX_HEAD_BYTES = 64 * 1024  # status line and headers

_Default = TypeVar("_Default")


class Headers(Mapping[str, str]):
    """Header fields. Names match in any case; values have one character per byte (Latin-1)."""

    def __init__(self) -> None:
        self.lower: dict[str, str] = {}  # by name in lower case

    def __getitem__(self, name: str) -> str:
        return self.lower[name.lower()]

    def get(self, name: str, default: _Default = None) -> str | _Default:  # type: ignore[assignment]
        """As Mapping's own `get`, but without the cost of an exception."""
        return self.lower.get(name.lower(), default)

    def __iter__(self) -> Iterator[str]:
        return iter(self.lower)

    def __len__(self) -> int:
        return len(self.lower)


class Answer:
    """A server's answer. Always close it; once the body is read to its end, that does nothing."""

    def __init__(
        self, connection: Connection, *, method: str, release: Callable[[Connection], None]
    ) -> None:
        """Read the head.

        Args:
            method: of the request. An answer to a HEAD has no body.
            release: is given the connection once the answer is complete.

        Raises:
            TransportError: the head did not come, or is not HTTP.
        """
        self.status = 0
        self.headers = Headers()
        self._connection = connection
        self._release = release
        self._has_body = method != "HEAD"
        self._unread = b""  # bytes of the body that were received, but not read by the caller
        # How many bytes of the body are still to come; None if the head gives no length. With a
        # length, the body bypasses the parser, which would copy each byte once more.
        self._remaining_bytes: int | None = None
        self._has_begun = self._has_head = self._is_complete = self._is_closed = False
        self._parser = httptools.HttpResponseParser(self)
        # User metadata may hold any characters. The end of a field stays strict.
        self._parser.set_dangerous_leniencies(lenient_headers=True)
        self._read_head()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes of the body as they come, at most `size`; empty at the end.

        A negative `size` reads the whole rest.

        Raises:
            AnswerBroken: the connection ended before the body.
            TransportError: no bytes came within the read timeout.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(RECEIVE_BYTES), b""))
        while not self._unread and not self._is_complete:
            self._receive(size)
        data, self._unread = self._unread[:size], self._unread[size:]
        self._release_if_complete()
        return data

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

    # -- reading -------------------------------------------------------------------------------

    def _read_head(self) -> None:
        received = 0
        try:
            while not self._has_head:
                if received > MAX_HEAD_BYTES:
                    raise TransportError(f"the answer's headers exceed {MAX_HEAD_BYTES} bytes")
                received += self._receive(MAX_HEAD_BYTES)
        except TransportError:
            self.close()
            raise
        self._release_if_complete()

    def _receive(self, size: int) -> int:
        remaining = self._remaining_bytes
        try:
            data = self._connection.receive(size if remaining is None else min(size, remaining))
        except TimeoutError as error:
            self.close()
            raise TransportError("the server sent no bytes within the read timeout") from error
        except OSError as error:
            raise self._broken(f"the connection broke: {error}") from error
        if not data:
            self._note_end()
            return 0
        self._has_begun = True
        if remaining is not None:
            self.on_body(data)
            return len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._is_complete:
                self.close()
                raise TransportError(f"the answer is not valid HTTP: {error}") from error
            # More bytes came than the answer has: the next answer could not be told apart.
            self._connection.is_reusable = False
        return len(data)

    def _note_end(self) -> None:
        # Without either header, the end of the connection is the end of the body.
        has_end = "content-length" in self.headers or "transfer-encoding" in self.headers
        if not self._has_head or has_end:
            raise self._broken("the connection was closed before the answer was complete")
        self._connection.is_reusable = False
        self._is_complete = True

    def _broken(self, reason: str) -> TransportError:
        self.close()
        return AnswerBroken(reason) if self._has_begun else NoAnswer(reason)

    def _release_if_complete(self) -> None:
        if self._is_complete and not self._is_closed:
            self._is_closed = True
            self._release(self._connection)

    # -- callbacks of httptools ----------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        fields = self.headers.lower
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:  # an interim answer: the final one follows
            self.headers.lower.clear()
            return
        self._has_head = True
        if not self._parser.should_keep_alive():
            self._connection.is_reusable = False
        if not self._has_body:
            self._is_complete = True
        elif "transfer-encoding" not in self.headers:
            length = self.headers.get("content-length", "")
            self._remaining_bytes = int(length) if length.isdecimal() else None

    def on_body(self, data: bytes) -> None:
        if not self._has_body:
            return
        self._unread = self._unread + data if self._unread else data
        if self._remaining_bytes is not None:
            self._remaining_bytes -= len(data)
            self._is_complete = self._remaining_bytes <= 0

    def on_message_complete(self) -> None:
        if self._has_head:
            self._is_complete = True
