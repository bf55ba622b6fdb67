"""HTTP headers that several stores share: ranges of an object, and times."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from replication.errors import ErrorCode, ReplicationError
from replication.stores.base import ObjectInfo

_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)")


def range_headers(*, first_byte: int, last_byte: int, pin: ObjectInfo) -> dict[str, str]:
    """The request headers for a range, the last byte included, of the object with this ETag.

    Raises:
        ReplicationError: SOURCE_UNSUPPORTED, if nothing tells this object from the next.
    """
    if not pin.is_pinnable:
        raise ReplicationError(
            ErrorCode.SOURCE_UNSUPPORTED,
            "it can't be read in parts: the source gives no strong ETag, or accepts no ranges",
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
    """Refuse an answer which is not those bytes of that object.

    Raises:
        ReplicationError: SOURCE_CHANGED, SOURCE_RANGE_IGNORED or SOURCE_TRUNCATED.
    """

    def refuse(code: ErrorCode, detail: str) -> ReplicationError:
        return ReplicationError(code, detail, request_id=request_id)

    etag = headers.get("etag", "").strip('"')
    if etag != pin.etag:
        raise refuse(ErrorCode.SOURCE_CHANGED, f"its ETag was {pin.etag} and is {etag or 'none'}")
    if status != 206:
        raise refuse(
            ErrorCode.SOURCE_RANGE_IGNORED,
            f"asked for bytes {first_byte}-{last_byte}, the answer is a plain {status}",
        )
    found = headers.get("content-range", "")
    match = _CONTENT_RANGE.fullmatch(found)
    if match is None:
        # A head that broke off is taken for a whole one, so it may lack any header.
        raise refuse(ErrorCode.SOURCE_TRUNCATED, f"no usable Content-Range: {found!r}")
    if tuple(map(int, match.groups())) != (first_byte, last_byte, pin.size_bytes):
        raise refuse(
            ErrorCode.SOURCE_CHANGED,
            f"asked for bytes {first_byte}-{last_byte}/{pin.size_bytes}, got {found}",
        )
    if headers.get("content-length") != str(last_byte - first_byte + 1):
        raise refuse(ErrorCode.SOURCE_TRUNCATED, "the range is not as long as it says")


def http_date(text: str) -> datetime | None:
    """The time of a header, in UTC; None for what is none."""
    try:
        time = parsedate_to_datetime(text)
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
