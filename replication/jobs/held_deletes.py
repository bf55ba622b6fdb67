"""What a person reads about a rule's held deletes before confirming them.

Deletes are held by one transaction after the other, each with a later time (delete_permits.py). So
a place in this order separates what a reader could see from what was held, or committed, later.

A rule may hold any number of deletes. Each query here reads a range of the index job_held, of at
most MAX_SHOWN rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from replication.models import HoldReason

MAX_SHOWN = 100_000

# So few rows for each query that its snapshot lasts for milliseconds, however slow the reader is.
PAGE = 1000

_HELD = "rule_id = %(rule)s AND state = 'pending' AND delete_permit = 'awaited'"
_REASON = "coalesce(nullif(hold_reason, ''), 'brake')"
_UP_TO_LAST = "(available_at, id) <= (%(last_at)s, %(last_id)s)"


@dataclass(frozen=True)
class Place:
    """A place in the order in which deletes were held; the id orders deletes of one instant."""

    held_at: datetime
    job_id: int


@dataclass(frozen=True)
class HeldDelete:
    """One held delete; `event_at` is when the change of the source was announced."""

    job_id: int
    key: str
    event_at: datetime
    held_at: datetime
    reason: HoldReason

    @property
    def place(self) -> Place:
        return Place(self.held_at, self.job_id)


@dataclass(frozen=True)
class HeldDeletes:
    """The oldest held deletes of a rule, at most MAX_SHOWN, from `first_at` up to `last`.

    `reasons` says why they are held, and how many for each reason. `are_all` says whether no more
    are held.
    """

    count: int
    first_at: datetime | None
    last: Place | None
    folder: str  # the longest that has all the keys: ends with a slash, or is empty
    reasons: dict[HoldReason, int]
    are_all: bool


@dataclass(frozen=True)
class PrefixCount:
    """How many keys begin with this prefix; `is_exact` if they have no further slash."""

    prefix: str
    count: int
    is_exact: bool


@contextmanager
def in_order() -> Iterator[CursorWrapper]:
    """A cursor for queries with an ORDER BY and a LIMIT, in a transaction."""
    with transaction.atomic(), connection.cursor() as cursor:
        read_in_order(cursor)
        yield cursor


def read_in_order(cursor: CursorWrapper) -> None:
    """Have the rest of the transaction read the index in its order, and stop at a LIMIT.

    The planner underestimates how many deletes are held, so it may read and sort all of them.
    """
    cursor.execute("SET LOCAL enable_sort = off")


def count(rule_id: int, *, after: Place | None = None) -> int:
    """How many deletes the rule holds, or has held after this place; at most MAX_SHOWN + 1."""
    later = "AND (available_at, id) > (%(after_at)s, %(after_id)s)" if after else ""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT count(*) FROM (
                SELECT FROM replication_transferjob WHERE {_HELD} {later} LIMIT %(limit)s
            ) AS held
            """,  # noqa: S608 - inserts our own constants only
            {"rule": rule_id, "limit": MAX_SHOWN + 1} | _parameters("after", after),
        )
        [number] = cursor.fetchone()
    return int(number)


def read(rule_id: int) -> HeldDeletes:
    """The held deletes of a rule as they are now."""
    last = _last_to_show(rule_id)
    if last is None:
        return HeldDeletes(0, None, None, "", {}, are_all=True)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT {_REASON}, count(*), min(available_at), min(key), max(key)
            FROM replication_transferjob WHERE {_HELD} AND {_UP_TO_LAST}
            GROUP BY 1 ORDER BY 1
            """,  # noqa: S608 - inserts our own constants only
            {"rule": rule_id} | _parameters("last", last),
        )
        groups = cursor.fetchall()
    return HeldDeletes(
        count=sum(number for _, number, *_ in groups),
        first_at=min((first_at for _, _, first_at, *_ in groups), default=None),
        last=last,
        folder=_common_folder(
            min((first for *_, first, _ in groups), default=""),
            max((last_key for *_, last_key in groups), default=""),
        ),
        reasons={HoldReason(reason): number for reason, number, *_ in groups},
        are_all=not count(rule_id, after=last),
    )


def _last_to_show(rule_id: int) -> Place | None:
    """The place of the newest held delete, or of the last that MAX_SHOWN has room for."""
    with in_order() as cursor:
        for order, skip in (("available_at, id", MAX_SHOWN - 1), ("available_at DESC, id DESC", 0)):
            cursor.execute(
                f"""
                SELECT available_at, id FROM replication_transferjob WHERE {_HELD}
                ORDER BY {order} OFFSET %(skip)s LIMIT 1
                """,  # noqa: S608 - inserts our own constants only
                {"rule": rule_id, "skip": skip},
            )
            if row := cursor.fetchone():
                return Place(*row)
    return None


def by_prefix(rule_id: int, shown: HeldDeletes, *, limit: int) -> list[PrefixCount]:
    """The most frequent prefixes of these keys, one level below their common folder."""
    if shown.last is None:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT left(key, folder + strpos(substr(key, folder + 1), '/')) AS prefix, count(*)
            FROM (
                SELECT key, char_length(%(folder)s) AS folder FROM replication_transferjob
                WHERE {_HELD} AND {_UP_TO_LAST}
            ) AS held
            GROUP BY prefix ORDER BY count(*) DESC, prefix LIMIT %(limit)s
            """,  # noqa: S608 - inserts our own constants only
            _parameters("last", shown.last)
            | {"rule": rule_id, "folder": shown.folder, "limit": limit},
        )
        return [
            PrefixCount(prefix, number, is_exact=prefix == shown.folder)
            for prefix, number in cursor.fetchall()
        ]


def oldest(rule_id: int, *, limit: int) -> list[HeldDelete]:
    """The deletes that have been held for the longest time."""
    return _page(rule_id, after=None, last=None, limit=limit)


def each(rule_id: int, *, last: Place) -> Iterator[HeldDelete]:
    """The deletes that are held up to this place, the oldest first.

    No transaction is open between the pages: a reader may take hours.
    """
    after: Place | None = None
    while page := _page(rule_id, after=after, last=last, limit=PAGE):
        yield from page
        after = page[-1].place


def _page(rule_id: int, *, after: Place | None, last: Place | None, limit: int) -> list[HeldDelete]:
    conditions = [
        _HELD,
        *(["(available_at, id) > (%(after_at)s, %(after_id)s)"] if after else []),
        *([_UP_TO_LAST] if last else []),
    ]
    with in_order() as cursor:
        cursor.execute(
            f"""
            SELECT id, key, event_at, available_at, {_REASON} FROM replication_transferjob
            WHERE {" AND ".join(conditions)}
            ORDER BY available_at, id LIMIT %(limit)s
            """,  # noqa: S608 - inserts our own constants only
            {"rule": rule_id, "limit": limit}
            | _parameters("after", after)
            | _parameters("last", last),
        )
        return [
            HeldDelete(job_id, key, event_at, held_at, HoldReason(reason))
            for job_id, key, event_at, held_at, reason in cursor.fetchall()
        ]


def _common_folder(first: str, last: str) -> str:
    """The longest folder of all the keys from the first to the last, in the order of their bytes:
    keys in between begin with whatever these two have in common."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    common = "".join(character for character, _ in pairs)
    return common[: common.rfind("/") + 1]


def _parameters(name: str, place: Place | None) -> dict[str, Any]:
    return {f"{name}_at": place.held_at, f"{name}_id": place.job_id} if place else {}
