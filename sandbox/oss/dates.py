"""Converts times between epoch seconds and the three formats that OSS uses."""

from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache


@lru_cache(maxsize=256)
def http_date(epoch_seconds: int) -> str:
    """The format of headers: `Mon, 01 Jan 2024 00:00:00 GMT`."""
    return formatdate(epoch_seconds, usegmt=True)


@lru_cache(maxsize=256)
def parse_http_date(date: str) -> int:
    """Epoch seconds of an HTTP date; raises ValueError."""
    parsed = datetime.strptime(date, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    return int(parsed.timestamp())


@lru_cache(maxsize=256)
def parse_stamp(stamp: str) -> int:
    """Epoch seconds of V4's `20240101T000000Z`; raises ValueError."""
    parsed = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return int(parsed.timestamp())


def stamp(epoch_seconds: int) -> str:
    """The format of V4 signatures: `20240101T000000Z`."""
    return datetime.fromtimestamp(epoch_seconds, UTC).strftime("%Y%m%dT%H%M%SZ")


def iso_time(epoch_seconds: float) -> str:
    """The format of listings and errors: `2024-01-01T00:00:00.000Z`."""
    return datetime.fromtimestamp(int(epoch_seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
