"""Opaque cursors: each marks the last row of a page, and the next page starts after that row.

A cursor names a row, not an offset. So a list that grows at its head repeats and skips no rows,
and its thousandth page costs as much as its first.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime

from replication.api.refusals import Refused
from replication.api.values import MAX_ID


@dataclass(frozen=True)
class Cursor:
    """The time and id of the last row of a page; lists that are ordered by id have no time."""

    at: datetime | None
    id: int

    def __str__(self) -> str:
        values = [self.at.isoformat() if self.at else None, self.id]
        return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def read_cursor(text: str, *, has_time: bool) -> Cursor:
    """Parse the `next_cursor` of an earlier answer.

    Raises:
        Refused: 422 for any other text, and for a cursor from another kind of list.
    """
    try:
        at, row_id = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        cursor = Cursor(None if at is None else datetime.fromisoformat(at), row_id)
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise invalid_cursor() from None
    is_id = type(cursor.id) is int and 0 <= cursor.id <= MAX_ID
    is_time = cursor.at is not None and cursor.at.tzinfo is not None
    if not is_id or is_time != has_time or (cursor.at is None) == has_time:
        raise invalid_cursor()
    return cursor


def invalid_cursor() -> Refused:
    """The refusal of a cursor that is not from this list."""
    return Refused(
        422,
        "invalid_cursor",
        "The cursor is not a next_cursor of this list and its filters. Start without a cursor.",
    )
