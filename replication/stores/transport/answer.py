"""An answer being read: its head is there, its body comes as it is asked for."""

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Self, TypeVar

import httptools

from replication.stores.transport.connection import RECEIVE_BYTES, Connection
from replication.stores.transport.errors import AnswerBroken, NoAnswer, TransportError

HEAD_BYTES_AT_MOST = 64 * 1024

_Default = TypeVar("_Default")


class Headers(Mapping[str, str]):
    """Header fields by name in any case, one character for each byte of a value (Latin-1)."""

    def __init__(self) -> None:
        self.lower: dict[str, str] = {}  # by name in lower case

    def __getitem__(self, name: str) -> str:
        return self.lower[name.lower()]

    def get(self, name: str, default: _Default = None) -> str | _Default:  # type: ignore[assignment]
        """Not by way of an exception, as Mapping's own."""
        return self.lower.get(name.lower(), default)

    def __iter__(self) -> Iterator[str]:
        return iter(self.lower)

    def __len__(self) -> int:
        return len(self.lower)


class Answer:
    """What a server answered. Close it in any case; read to its end, it is closed already."""

    def __init__(
        self, connection: Connection, *, method: str, give_back: Callable[[Connection], None]
    ) -> None:
        """Read the head.

        Raises:
            TransportError: it did not come, or is no head of HTTP.
        """
        self.status = 0
        self.headers = Headers()
        self._connection = connection
        self._give_back = give_back
        self._has_body = method != "HEAD"
        self._pending = b""  # of the body: received, and not yet read
        # Of a body whose length the head gives, so much is to come. It is read past the parser,
        # which would copy each byte once more.
        self._left_bytes: int | None = None
        self._has_begun = self._has_head = self._is_complete = self._is_closed = False
        self._parser = httptools.HttpResponseParser(self)
        # User metadata may be any characters. What ends a field stays as strict as it is.
        self._parser.set_dangerous_leniencies(lenient_headers=True)
        self._read_head()

    def read(self, size: int = -1) -> bytes:
        """The next bytes of the body, at most `size` of them, as they come; all if it is negative.

        Empty at the end.

        Raises:
            AnswerBroken: the connection ended first.
            TransportError: nothing came for as long as the read timeout is.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(RECEIVE_BYTES), b""))
        while not self._pending and not self._is_complete:
            self._receive(size)
        data, self._pending = self._pending[:size], self._pending[size:]
        self._release_if_complete()
        return data

    def close(self) -> None:
        """Read no more. That ends the connection, unless all was read."""
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
                if received > HEAD_BYTES_AT_MOST:
                    raise TransportError("the head of the answer has no end")
                received += self._receive(HEAD_BYTES_AT_MOST)
        except TransportError:
            self.close()
            raise
        self._release_if_complete()

    def _receive(self, size: int) -> int:
        left = self._left_bytes
        try:
            data = self._connection.receive(size if left is None else min(size, left))
        except TimeoutError as error:
            self.close()
            raise TransportError("nothing came for as long as the read timeout is") from error
        except OSError as error:
            raise self._broken(f"the connection broke: {error}") from error
        if not data:
            self._note_end()
            return 0
        self._has_begun = True
        if left is not None:
            self.on_body(data)
            return len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._is_complete:
                self.close()
                raise TransportError(f"not understood as HTTP: {error}") from error
            # More came than the answer: who knows whose it is.
            self._connection.is_reusable = False
        return len(data)

    def _note_end(self) -> None:
        has_end = "content-length" in self.headers or "transfer-encoding" in self.headers
        if not self._has_head or has_end:
            raise self._broken("the connection was closed before the answer was whole")
        self._connection.is_reusable = False
        self._is_complete = True

    def _broken(self, reason: str) -> TransportError:
        self.close()
        return AnswerBroken(reason) if self._has_begun else NoAnswer(reason)

    def _release_if_complete(self) -> None:
        if self._is_complete and not self._is_closed:
            self._is_closed = True
            self._give_back(self._connection)

    # -- what httptools calls ------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        fields = self.headers.lower
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:  # more of it is to come
            self.headers.lower.clear()
            return
        self._has_head = True
        if not self._parser.should_keep_alive():
            self._connection.is_reusable = False
        if not self._has_body:
            self._is_complete = True
        elif "transfer-encoding" not in self.headers:
            length = self.headers.get("content-length", "")
            self._left_bytes = int(length) if length.isdecimal() else None

    def on_body(self, data: bytes) -> None:
        if not self._has_body:
            return
        self._pending = self._pending + data if self._pending else data
        if self._left_bytes is not None:
            self._left_bytes -= len(data)
            self._is_complete = self._left_bytes <= 0

    def on_message_complete(self) -> None:
        if self._has_head:
            self._is_complete = True
