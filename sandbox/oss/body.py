"""Reads the body of a request as it arrives, and never past its end."""

import time

from sandbox.oss.blobs import READ_BYTES
from sandbox.oss.http import (
    DRAIN_BYTES,
    DRAIN_SECONDS,
    IDLE_SECONDS,
    BadRequestError,
    ClientGoneError,
    Connection,
    RequestHead,
)


class Body:
    """The body of one request, with a Content-Length or chunked; a Source for blobs.

    It reads exactly Content-Length bytes, however many the client sends.
    """

    def __init__(self, connection: Connection, head: RequestHead) -> None:
        self._connection = connection
        headers = head.headers
        self.chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length")
        if length is not None and not (length.isascii() and length.isdigit()):
            raise BadRequestError(f"not a Content-Length: {length[:40]!r}")
        self.length = None if length is None or self.chunked else int(length)
        self._left = self.length or 0
        self._ended = not self.chunked and not self._left
        self._awaits_continue = headers.get("expect", "").lower() == "100-continue"
        self.bytes_per_second: float | None = None

    @property
    def is_read(self) -> bool:
        """Whether the whole body was read from the connection."""
        return self._ended

    @property
    def can_be_drained(self) -> bool:
        """Whether to read the rest of a refused request's body, so that the connection can stay.

        Not if the client waits for `100 Continue`, nor if the rest is chunked or too long.
        """
        waits = self._awaits_continue or self.chunked
        return self._ended or not (waits or self._left > DRAIN_BYTES)

    def read(self) -> bytes:
        """The next bytes, or b"" at the end; raises ClientGoneError."""
        if self._ended:
            return b""
        if self._awaits_continue:
            self._awaits_continue = False
            self._connection.send_continue()
        if self.chunked:
            return self._read_chunked()
        chunk = self._connection.read_some(min(self._left, READ_BYTES))
        self._left -= len(chunk)
        self._ended = not self._left
        self._throttle(len(chunk))
        return chunk

    def read_all(self, limit: int) -> bytes | None:
        """The whole body, or None if it is longer than `limit` bytes."""
        chunks: list[bytes] = []
        while chunk := self.read():
            chunks.append(chunk)
            limit -= len(chunk)
            if limit < 0:
                return None
        return b"".join(chunks)

    def drain(self) -> bool:
        """Read the rest of a refused request's body; False if it does not arrive in time."""
        if self._ended:
            return True
        self._connection.sock.settimeout(DRAIN_SECONDS)
        try:
            while self.read():
                pass
        except ClientGoneError:
            return False
        self._connection.sock.settimeout(IDLE_SECONDS)
        return True

    def _read_chunked(self) -> bytes:
        if not self._left:
            size_line = self._connection.read_line().partition(b";")[0].strip()
            try:
                self._left = int(size_line, 16)
            except ValueError:
                raise BadRequestError(f"not a chunk size: {size_line[:40]!r}") from None
            if not self._left:
                while self._connection.read_line():
                    pass
                self._ended = True
                return b""
        chunk = self._connection.read_some(min(self._left, READ_BYTES))
        self._left -= len(chunk)
        if not self._left and self._connection.read_line():
            raise BadRequestError("a chunk is longer than its size says")
        self._throttle(len(chunk))
        return chunk

    def _throttle(self, size: int) -> None:
        if self.bytes_per_second:
            time.sleep(size / self.bytes_per_second)
