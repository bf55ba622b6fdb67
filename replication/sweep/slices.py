"""The slices of sweeps in the database: held by a worker, moved on, split, released.

Each function is one short transaction. The token of a slice fences off a worker that was taken for
dead. The sweep's row is locked last, so that workers of one sweep wait for each other only briefly.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Greatest, Least

from replication.errors import MEANINGS, Disposition, ReplicationError
from replication.jobs import PRIORITY_SWEEP_FIRST
from replication.models import Sweep, SweepSlice, SweepState

# A slice is worth splitting after so many pages of both sides: about as much of it may be left. The
# first slices of a sweep are split early, later ones when they hold so much of a worker's share of
# the sweep, or of so many pages.
SPLIT_PAGES = 10
SPLIT_SHARE, SPLIT_SHARE_OF_PAGES = 1 / 3, 1440
RETRY_SECONDS = (5, 15, 60, 60)  # after each failure without progress; then the slice has failed

# The queue must not grow with the bucket: listing waits while so many of its jobs are pending.
MOST_PENDING = 20_000
RESUME_AT_PENDING = 10_000
BEHIND_SECONDS = 2  # between two counts of what is pending

WAITS_FOR_LANES = "the lanes, which are behind with the keys that it found"
WAITS_FOR_A_PERSON = "a person: its budget of requests is spent"

# It is the sweep's time of the day.
_IN_WINDOW = """
    CASE
    WHEN window_from IS NULL OR window_until IS NULL THEN true
    WHEN window_from <= window_until
        THEN (now() AT TIME ZONE 'UTC')::time >= window_from
             AND (now() AT TIME ZONE 'UTC')::time < window_until
    ELSE (now() AT TIME ZONE 'UTC')::time >= window_from
         OR (now() AT TIME ZONE 'UTC')::time < window_until
    END
"""

# A slice that may be taken now. What only reports may look at the buckets of a rule at rest.
_FREE = f"""
    FROM replication_sweepslice AS slice
    JOIN replication_sweep AS sweep ON sweep.id = slice.sweep_id
    JOIN replication_replicationrule AS rule ON rule.id = sweep.rule_id
    WHERE NOT slice.is_done AND (slice.held_until IS NULL OR slice.held_until < now())
      AND sweep.state = 'running' AND (sweep.id = %(sweep)s OR %(sweep)s IS NULL)
      AND (NOT sweep.mends
           OR rule.enabled AND rule.paused_at IS NULL AND rule.parked_at IS NULL)
      AND {_IN_WINDOW}
"""


class Pace(NamedTuple):
    """How a sweep goes on after a batch."""

    wait_seconds: float  # before the next request, to keep to its rate
    is_in_window: bool  # whether it is its time of the day


class Lost(Exception):
    """Another worker carries the slice on, or a person has paused or ended the sweep."""


def are_any_free(sweep_id: int | None = None) -> bool:
    """Whether a slice can be taken now."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT {_FREE})", {"sweep": sweep_id})
        return bool(cursor.fetchone()[0])


def hold_one(sweep_id: int | None = None) -> SweepSlice | None:
    """Take a slice to carry on, with its sweep and rule: of this sweep, if one is named."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH free AS (
                SELECT slice.id {_FREE}
                -- Nobody waits for a scrub.
                ORDER BY sweep.kind = 'scrub', slice.id
                LIMIT 1 FOR UPDATE OF slice SKIP LOCKED)
            UPDATE replication_sweepslice AS slice
            SET token = token + 1, held_until = now() + make_interval(secs => %(hold)s),
                held_by = %(host)s
            FROM free WHERE slice.id = free.id
            RETURNING slice.id, clock_timestamp()
            """,  # noqa: S608 - made of constants
            {
                "sweep": sweep_id,
                "hold": settings.S3SYNC.lease_seconds,
                "host": settings.S3SYNC.host_name,
            },
        )
        row = cursor.fetchone()
    if row is None:
        return None
    with_rule = SweepSlice.objects.select_related("sweep__rule__source", "sweep__rule__destination")
    found = with_rule.get(pk=row[0])
    found.read_since = (row[1], row[1])
    return found


def renew(held: Sequence[SweepSlice]) -> None:
    """Hold these slices for longer."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_sweepslice AS slice
            SET held_until = now() + make_interval(secs => %s)
            FROM unnest(%s::bigint[], %s::int[]) AS mine (id, token)
            WHERE slice.id = mine.id AND slice.token = mine.token AND held_by <> ''
            """,
            [settings.S3SYNC.lease_seconds, [one.pk for one in held], [one.token for one in held]],
        )


def advance(held: SweepSlice, *, cursor: str, keys: int, pages: int) -> tuple[str | None, datetime]:
    """Move the cursor, in the caller's transaction. Returns where the slice ends from now on, if
    another worker asked for its rest, and the database's time.

    Raises:
        Lost: the slice is not ours any more.
    """
    with connection.cursor() as database:
        database.execute(
            """
            UPDATE replication_sweepslice AS slice
            SET cursor = %(cursor)s, keys = slice.keys + %(keys)s, pages = slice.pages + %(pages)s,
                failures = 0, error = '', splits = '{}',
                until_key = COALESCE(was.splits[1], was.until_key)
            FROM (
                SELECT id, until_key, ARRAY(
                    SELECT key FROM unnest(splits) AS key
                    WHERE key COLLATE "C" > %(cursor)s
                        AND (until_key IS NULL OR key COLLATE "C" < until_key)
                    ORDER BY key COLLATE "C") AS splits
                FROM replication_sweepslice
                WHERE id = %(id)s AND token = %(token)s AND NOT is_done
                FOR UPDATE
            ) AS was
            WHERE slice.id = was.id
            RETURNING was.splits, was.until_key, clock_timestamp()
            """,
            {
                "cursor": cursor,
                "keys": keys,
                "pages": pages,
                "id": held.pk,
                "token": held.token,
            },
        )
        row = database.fetchone()
        if row is None:
            raise Lost
        splits, until_key, now = row
        SweepSlice.objects.bulk_create(
            SweepSlice(sweep_id=held.sweep_id, after_key=after, cursor=after, until_key=until)
            for after, until in pairwise([*splits, until_key])
        )
        return splits[0] if splits else None, now


def splittable(sweep_id: int | None = None, *, workers: int) -> QuerySet[SweepSlice]:
    """The slices under way that are large for so many workers, and that no rate holds back."""
    pages = F("sweep__source_requests") + F("sweep__destination_requests")
    found = SweepSlice.objects.filter(
        sweep__state=SweepState.RUNNING,
        sweep__requests_per_second=None,
        is_done=False,
        pages__gte=Greatest(
            SPLIT_PAGES, Least(pages, SPLIT_SHARE_OF_PAGES) * (SPLIT_SHARE / workers)
        ),
    ).exclude(held_by="")
    return found if sweep_id is None else found.filter(sweep=sweep_id)


def ask_for_rest(slice_id: int, splits: Sequence[str]) -> None:
    """Ask whoever holds the slice to end it at the first of these keys that it has not passed, so
    that its rest becomes slices, each from one of the keys to the next.
    """
    SweepSlice.objects.filter(pk=slice_id, is_done=False, splits=[]).update(splits=splits)


def count(sweep: Sweep, counts: Mapping[str, int], *, requests: int) -> Pace:
    """Add to the counters of the sweep. Returns how it goes on.

    Raises:
        Lost: the sweep is not running any more.
    """
    counts = {name: number for name, number in counts.items() if number}
    added = "".join(f"{name} = {name} + %({name})s, " for name in counts)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE replication_sweep SET {added}
                waits_for = CASE WHEN waits_for = %(lanes)s THEN '' ELSE waits_for END,
                -- Requests to the two sides go side by side.
                paced_until = CASE WHEN requests_per_second IS NULL THEN paced_until
                    ELSE GREATEST(paced_until, now())
                        + make_interval(secs => %(requests)s / 2.0 / requests_per_second) END
            WHERE id = %(id)s AND state = 'running'
            RETURNING extract(epoch FROM paced_until - now())::float8,
                      source_requests + destination_requests >= most_requests,
                      {_IN_WINDOW}
            """,  # noqa: S608 - the names are those of fields
            {**counts, "lanes": WAITS_FOR_LANES, "requests": requests, "id": sweep.pk},
        )
        row = cursor.fetchone()
        if row is None:
            raise Lost
        wait_seconds, is_spent, is_in_window = row
    if is_spent:
        Sweep.objects.filter(pk=sweep.pk).update(
            state=SweepState.PAUSED, waits_for=WAITS_FOR_A_PERSON
        )
    return Pace(float(wait_seconds or 0), is_in_window)


def end(held: SweepSlice) -> None:
    """Note that the slice is done, in the caller's transaction.

    Raises:
        Lost: the slice is not ours any more.
    """
    ours = SweepSlice.objects.filter(pk=held.pk, token=held.token, is_done=False)
    if not ours.update(is_done=True, held_until=None, held_by=""):
        raise Lost


def release(
    held: SweepSlice, *, seconds: float = 0, error: str = "", failures: int | None = None
) -> None:
    """Leave the slice to whoever takes it next, not before so many seconds.

    Args:
        failures: since the last progress; None leaves the number as it is.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_sweepslice
            SET held_by = '', splits = '{}', error = %s, failures = COALESCE(%s, failures),
                held_until = now() + make_interval(secs => %s)
            WHERE id = %s AND token = %s
            """,
            [error, failures, seconds, held.pk, held.token],
        )


def fail(held: SweepSlice, error: ReplicationError, *, gives_up: bool) -> None:
    """Leave the slice after an error for a later try, or for good, which ends its sweep: not for
    an error that ends by itself, unless the caller gives up.
    """
    failures = held.failures + 1
    is_transient = error.disposition in {Disposition.RETRY, Disposition.SLOW_DOWN}
    is_last = failures > len(RETRY_SECONDS) and (gives_up or not is_transient)
    text = f"{error} {MEANINGS[error.code].hint}"
    backoff_seconds = RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1]
    seconds = min(backoff_seconds, settings.S3SYNC.retry_cap_seconds)
    with transaction.atomic():
        release(held, seconds=seconds, error=text, failures=failures)
        is_throttled = error.disposition is Disposition.SLOW_DOWN
        Sweep.objects.filter(pk=held.sweep_id).update(
            error=text, throttles=F("throttles") + int(is_throttled)
        )
        if is_last:
            end_sweep(held.sweep_id, SweepState.FAILED, error=text)


def end_sweep(sweep_id: int, state: SweepState, *, error: str = "") -> None:
    """End a sweep that is not over, wherever it is."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_sweep SET state = %s, ended_at = now(), error = %s, waits_for = ''
            WHERE id = %s AND state IN ('running', 'settling')
            """,
            [state, error, sweep_id],
        )


# -- what is behind ------------------------------------------------------------------------------


def are_lanes_behind(sweep: Sweep) -> bool:
    """Whether too many jobs of sweeps wait; once there are, until half of them are done."""
    was_behind = sweep.waits_for == WAITS_FOR_LANES
    return not pending_at_most(sweep.rule_id, RESUME_AT_PENDING if was_behind else MOST_PENDING)


def pending_at_most(rule_id: int, limit: int) -> bool:
    """Whether at most so many jobs of sweeps wait for the lanes."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM (
                SELECT FROM replication_transferjob
                WHERE rule_id = %s AND state = 'pending' AND delete_permit <> 'awaited'
                  AND priority >= %s
                LIMIT %s) AS first
            """,
            [rule_id, PRIORITY_SWEEP_FIRST, limit + 1],
        )
        return bool(cursor.fetchone()[0] <= limit)
