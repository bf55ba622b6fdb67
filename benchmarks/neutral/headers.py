"""Keeps an object's headers from a write, and makes the headers of an answer."""

import re
from email.utils import formatdate
from functools import lru_cache

from benchmarks.neutral.connection import Request
from benchmarks.neutral.contents import Stored

_KEPT = re.compile(
    rb"\r\n((?:x-(?:amz|oss)-meta-[^:\r]+|content-type|content-encoding|cache-control):[^\r]*)",
    re.IGNORECASE,
)


def kept(request: Request) -> bytes:
    """The headers of a write that are stored with the object, as complete lines."""
    return b"".join(line + b"\r\n" for line in _KEPT.findall(request.head))


def receipt(etag: str, crc64: int) -> str:
    """The headers of the answer to a write."""
    return f'ETag: "{etag}"\r\nx-oss-hash-crc64ecma: {crc64}\r\n'


def description(stored: Stored) -> str:
    """The headers of the answer to a read."""
    own = stored.headers.decode("latin-1") or "Content-Type: application/octet-stream\r\n"
    return (
        f"{receipt(stored.etag, stored.crc64)}Last-Modified: {_http_date(int(stored.modified))}\r\n"
        f"Accept-Ranges: bytes\r\n{own}"
    )


@lru_cache(maxsize=1024)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)
