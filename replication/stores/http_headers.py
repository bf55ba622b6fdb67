"""HTTP headers that several stores share: byte ranges and dates."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from replication.errors import ErrorCode, ReplicationError
from replication.stores.base import ObjectInfo

_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)")


def range_headers(*, first_byte: int, last_byte: int, pin: ObjectInfo) -> dict[str, str]:
    """Return the request headers for a range of exactly this object, the last byte included.

    Raises:
        ReplicationError: SOURCE_UNSUPPORTED, if the object is not pinnable.
    """
    if not pin.is_pinnable:
        raise ReplicationError(
            ErrorCode.SOURCE_UNSUPPORTED,
            "can't read the object in parts: the source gives no strong ETag, or no byte ranges",
        )
    return {"Range": f"bytes={first_byte}-{last_byte}", "If-Match": f'"{pin.etag}"'}


def check_range(
    status: int,
    headers: Mapping[str, str],
    *,
    first_byte: int,
    last_byte: int,
    pin: ObjectInfo,
    request_id: str,
) -> None:
    """Check that an answer has exactly these bytes of this object.

    Raises:
        ReplicationError: SOURCE_CHANGED, SOURCE_RANGE_IGNORED or SOURCE_TRUNCATED.
    """

    def error(code: ErrorCode, detail: str) -> ReplicationError:
        return ReplicationError(code, detail, request_id=request_id)

    etag = headers.get("etag", "").strip('"')
    if etag != pin.etag:
        raise error(
            ErrorCode.SOURCE_CHANGED, f"the ETag was {pin.etag}, and is now {etag or 'none'}"
        )
    if status != 206:
        raise error(
            ErrorCode.SOURCE_RANGE_IGNORED,
            f"asked for bytes {first_byte}-{last_byte}, got the whole object (status {status})",
        )
    found = headers.get("content-range", "")
    match = _CONTENT_RANGE.fullmatch(found)
    if match is None:
        # If the connection breaks off in the headers, http.client takes them as complete, so any
        # header may be missing.
        raise error(ErrorCode.SOURCE_TRUNCATED, f"no valid Content-Range: {found!r}")
    if tuple(map(int, match.groups())) != (first_byte, last_byte, pin.size_bytes):
        raise error(
            ErrorCode.SOURCE_CHANGED,
            f"asked for bytes {first_byte}-{last_byte}/{pin.size_bytes}, got {found}",
        )
    if headers.get("content-length") != str(last_byte - first_byte + 1):
        raise error(
            ErrorCode.SOURCE_TRUNCATED, "the length of the answer is not that of its Content-Range"
        )


def http_date(text: str) -> datetime | None:
    """Return the time of a header, in UTC; None if the text is not a date."""
    try:
        time = parsedate_to_datetime(text)
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
