"""An S3 object, or a range of it, as the answer to a GET."""

import re
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Protocol, Self

from replication.errors import ErrorCode, ReplicationError
from replication.stores.s3.errors import FAILURES, raise_translated
from replication.stores.s3.headers import EtagKind, object_info
from replication.stores.s3.identity import request_id
from replication.stores.transport.fibers import run_blocking

_TOTAL = re.compile(r".*/([0-9]+)")


class Body(Protocol):
    """The bytes of an answer."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class Boto3Body:
    """The body of an answer from boto3. In a fiber, each read blocks a worker thread instead."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.close = body.close

    def read(self, size: int, /) -> bytes:
        return run_blocking(partial(self._body.read, size))


class S3Object:
    """Reads an S3 object, or a range of it."""

    def __init__(
        self, status: int, headers: Mapping[str, str], body: Body, *, etags: EtagKind
    ) -> None:
        self.status = status
        self.headers = headers
        self._body = body
        try:
            self.length_bytes = length_of(headers)
        except ReplicationError:
            self._body.close()
            raise
        total = _TOTAL.fullmatch(headers.get("content-range", ""))
        self.info = object_info(
            headers,
            size_bytes=int(total[1]) if total else self.length_bytes,
            etags=etags,
        )

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; see Reader."""
        try:
            return self._body.read(size)
        except FAILURES as error:
            raise_translated(error, request_of_broken=self.info.request_id)

    def close(self) -> None:
        """Stop reading."""
        self._body.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def length_of(headers: Mapping[str, str]) -> int:
    """Return the length of an answer's body.

    Raises:
        ReplicationError: SOURCE_LENGTH_UNKNOWN.
    """
    text = headers.get("content-length", "")
    if not text.isdecimal():
        # S3 always sends it; a proxy before S3 may leave it out.
        raise ReplicationError(
            ErrorCode.SOURCE_LENGTH_UNKNOWN,
            "the answer has no Content-Length",
            request_id=request_id(headers),
        )
    return int(text)
