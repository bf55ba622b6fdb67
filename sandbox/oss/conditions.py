"""Evaluates the headers that make a read conditional or partial, as OSS does."""

import re

from sandbox.oss.dates import parse_http_date
from sandbox.oss.errors import OssError
from sandbox.oss.state import StoredObject

_RANGE = re.compile(r"bytes=(\d*)-(\d*)(,.*)?")


class NotModifiedError(Exception):
    """The client already has the object: answer 304."""


def check(headers: dict[str, str], stored: StoredObject, *, prefix: str = "") -> None:
    """Check the conditional headers; `prefix` is the prefix of their names, for a copy's source.

    Raises OssError PreconditionFailed (412), or NotModifiedError.
    """
    match = headers.get(f"{prefix}if-match")
    if match is not None and match.strip('"') != stored.etag.strip('"') and match != "*":
        raise OssError("PreconditionFailed", Condition="If-Match")
    unmodified = _time(headers, f"{prefix}if-unmodified-since")
    if unmodified is not None and stored.modified_at > unmodified:
        raise OssError("PreconditionFailed", Condition="If-Unmodified-Since")
    none_match = headers.get(f"{prefix}if-none-match")
    if none_match is not None and none_match.strip('"') in (stored.etag.strip('"'), "*"):
        raise NotModifiedError
    modified = _time(headers, f"{prefix}if-modified-since")
    if modified is not None and stored.modified_at <= modified:
        raise NotModifiedError


def byte_range(headers: dict[str, str], size: int) -> tuple[int, int] | None:
    """The (start, length) that a Range header requests, or None for the whole object.

    OSS ignores a malformed range. It also ignores a range that reaches past the end, unless the
    request has `x-oss-range-behavior: standard`: then it clips the range or answers InvalidRange
    (416). If there are several ranges, it serves the first.
    """
    header = headers.get("range")
    if header is None:
        return None
    parsed = _RANGE.fullmatch(header.replace(" ", ""))
    if parsed is None or not (parsed[1] or parsed[2]):
        return None
    standard = headers.get("x-oss-range-behavior") == "standard"
    if not parsed[1]:
        wanted = int(parsed[2])
        start, end = size - wanted, size - 1
        unsatisfiable = wanted == 0 or size == 0
        beyond = start < 0
    else:
        start = int(parsed[1])
        end = int(parsed[2]) if parsed[2] else size - 1
        if parsed[2] and start > end:
            return None
        unsatisfiable = start >= size
        beyond = end >= size
    if unsatisfiable and standard:
        raise OssError(
            "InvalidRange", ActualObjectSize=str(size), RangeRequested=header.partition("=")[2]
        )
    if unsatisfiable or (beyond and not standard):
        return None
    start, end = max(start, 0), min(end, size - 1)
    return start, end - start + 1


def _time(headers: dict[str, str], name: str) -> int | None:
    date = headers.get(name)
    if date is None:
        return None
    try:
        return parse_http_date(date)
    except ValueError:
        raise OssError("InvalidArgument", ArgumentName=name, ArgumentValue=date) from None
