"""A request body that verifies the source's bytes while they pass; it knows no queue."""

import time
from collections.abc import Callable
from typing import Protocol

from replication.errors import ErrorCode, ReplicationError
from replication.stores.base import SourceObject
from replication.stores.checksums import CRC64, RunningChecksum, SourceChecksum


class Allowance(Protocol):
    """A limit on the bytes that may be sent to a destination."""

    def spend(self, size_bytes: int, *, raise_if_stopped: Callable[[], None]) -> None:
        """Wait until bytes may be sent, then use up `size_bytes` of the allowance.

        Raises:
            TransferStopped: `raise_if_stopped`, which is called during the wait, raised it.
        """


class GuessRefuted(ReplicationError):
    """The bytes do not match what only looked like their checksum; `found` is theirs.

    Either the bytes were altered on their way, or the guess is wrong. A second read tells: altered
    bytes do not come out alike twice.
    """

    def __init__(self, detail: str, found: SourceChecksum, *, request_id: str) -> None:
        super().__init__(ErrorCode.SOURCE_CORRUPT, detail, request_id=request_id)
        self.found = found


class VerifiedBody:
    """An object of the source, or a range of it, as the body of a request to the destination.

    The length, and the source's checksum if it is given, are checked before the last bytes are
    returned. So a short or corrupt read ends the request before its Content-Length is reached, and
    OSS keeps the old object.
    """

    def __init__(
        self,
        source_object: SourceObject,
        *,
        before_send: Callable[[int], None],
        expected: SourceChecksum | None = None,
        running: RunningChecksum | None = None,
    ) -> None:
        self._object = source_object
        self._before_send = before_send
        self._expected = expected
        self._running = expected.begin() if expected else running
        self._read_bytes = 0
        self._crc64 = 0
        self.held_back_seconds = 0.0  # by `before_send`
        self.ended_at = time.monotonic()  # when the last bytes were handed on

    @property
    def len(self) -> int:
        return self._object.length_bytes

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size` of them; empty at the end.

        Raises:
            ReplicationError: SOURCE_TRUNCATED, SOURCE_CORRUPT, or another error of the source.
            TransferStopped: `before_send` raised it.
        """
        left = self.len - self._read_bytes
        data = self._object.read(left if size < 0 else min(size, left)) if left else b""
        self._read_bytes += len(data)
        self._crc64 = CRC64.calc(data, self._crc64)
        if self._running is not None:
            self._running.update(data)
        if not data and left:
            raise self._error(
                ErrorCode.SOURCE_TRUNCATED,
                f"the source ended after {self._read_bytes} of {self.len} bytes",
            )
        if self._expected and self._running and self._read_bytes == self.len:
            self._compare(self._running.value(), self._expected)
        # Last, so that bytes that were read while the lease expired are not sent.
        held_at = time.monotonic()
        self._before_send(len(data))
        self.ended_at = time.monotonic()
        self.held_back_seconds += self.ended_at - held_at
        return data

    def finish(self) -> str:
        """The CRC-64 of all bytes, in decimal like OSS's."""
        assert self._read_bytes == self.len, "the destination answered before it had read the body"
        return str(self._crc64)

    def _compare(self, found: str, expected: SourceChecksum) -> None:
        if found == expected.expected:
            return
        detail = f"read {expected.shown(found)}, the source has {expected.shown(expected.expected)}"
        if expected.is_guess:
            raise GuessRefuted(
                detail,
                SourceChecksum(expected.algorithm, found),
                request_id=self._object.info.request_id,
            )
        raise self._error(ErrorCode.SOURCE_CORRUPT, detail)

    def _error(self, code: ErrorCode, detail: str) -> ReplicationError:
        return ReplicationError(code, detail, request_id=self._object.info.request_id)


def check_crc64(*, read: str, answered: str, request_id: str) -> None:
    """Compare OSS's CRC-64 with the CRC-64 of the bytes that were read.

    Raises:
        ReplicationError: CHECKSUM_MISMATCH.
    """
    if answered != read:
        raise ReplicationError(
            ErrorCode.CHECKSUM_MISMATCH,
            f"read CRC-64 {read}, OSS answered {answered or 'none'}",
            request_id=request_id,
        )
