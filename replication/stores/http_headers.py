"""HTTP headers that several stores share: ETags, byte ranges and dates."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from replication.errors import ErrorCode, ObjectMissing, ReplicationError
from replication.stores.base import ObjectInfo

# The form in which servers must send dates: RFC 9110, section 5.6.7.
_DATE = re.compile(
    r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([1-9][0-9]{3}) "
    r"([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)")


def etag_of(text: str) -> str:
    """Return an ETag as ObjectInfo has it: a strong one without its quotes, a weak one as it came.

    A weak ETag, `W/"…"`, may stay the same while bytes change.
    """
    return text if is_weak(text) else text.strip('"')


def is_weak(etag: str) -> bool:
    """Whether an ETag is a weak one."""
    return etag.startswith("W/")


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
    etag = pin.etag if is_weak(pin.etag) else f'"{pin.etag}"'
    return {"Range": f"bytes={first_byte}-{last_byte}", "If-Match": etag}


def check_change(
    error: ReplicationError, *, pin: ObjectInfo, look: Callable[[], ObjectInfo]
) -> ReplicationError:
    """Return the error to raise in place of one of a pinned read.

    A source that says that the object changed is asked whether it did. If it describes the same
    object as before, the next try would fail in the same way: SOURCE_INCONSISTENT.

    Args:
        look: describes the object as it is now.
    """
    if error.code is not ErrorCode.SOURCE_CHANGED:
        return error
    try:
        now = look()
    except (ReplicationError, ObjectMissing):
        return error
    if (now.etag, now.size_bytes, now.version_id) != (pin.etag, pin.size_bytes, pin.version_id):
        return error
    return ReplicationError(
        ErrorCode.SOURCE_INCONSISTENT,
        f"{error.detail}; but asked for the whole object, the source still gives the ETag "
        f"{pin.etag} and {pin.size_bytes} bytes",
        request_id=error.request_id,
    )


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

    etag = etag_of(headers.get("etag", ""))
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
        if date := _DATE.fullmatch(text):  # the general parser takes three times as long
            day, month, year, hour, minute, second = date.groups()
            return datetime(
                int(year),
                _MONTHS.index(month) + 1,
                int(day),
                int(hour),
                int(minute),
                int(second),
                tzinfo=UTC,
            )
        time = parsedate_to_datetime(text)
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
