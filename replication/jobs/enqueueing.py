"""→ pending: a key that a rule should look at becomes a job, or joins the one that waits."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import connection

from replication.models import JobOrigin

# Lanes listen here to start a job the moment it is committed.
WAKE_CHANNEL = "s3sync_jobs"

# Fresh events go before what an operator asked to look at again.
PRIORITY_EVENT = 0
PRIORITY_BULK = 10

# Held, in PostgreSQL, by who touches many pending jobs: shared by those who do it in the order of
# their keys, alone by those who don't. Else they would deadlock.
PENDING_LOCK = 0x53335331


@dataclass(frozen=True)
class JobOrder:
    """A key that a rule should look at.

    `event_at` is when the change was announced, if known; with `not_before`, an earlier write may
    still land until then, and the look is for after that.
    """

    rule_id: int
    key: str
    event_at: datetime | None = None
    not_before: datetime | None = None


def enqueue(orders: Iterable[JobOrder], *, origin: JobOrigin, priority: int) -> list[int]:
    """Make each key's pending job, or join the one that waits already; wake the lanes on commit.

    Returns the job ids, one for each distinct (rule, key). A job that joins keeps the oldest
    `event_at`, so that lag is counted from the oldest change that was not yet served, and
    becomes due at once: something happened to the key. The latest `not_before` is kept too: what
    is copied before then is looked at once more after it.
    """
    by_place: dict[tuple[int, str], JobOrder] = {}
    for order in orders:
        place = (order.rule_id, order.key)
        by_place[place] = _joined(by_place[place], order) if place in by_place else order
    if not by_place:
        return []
    # Sorted, so that two transactions that enqueue the same keys can't deadlock.
    merged = [by_place[place] for place in sorted(by_place)]
    # One statement, which is a transaction of its own where the caller has none: each further one
    # would cost a round trip, and an event that comes alone waits for all of them.
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(%s)),
            made AS (
                INSERT INTO replication_transferjob AS job
                    (rule_id, key, state, origin, priority, attempt, attempt_limit,
                     event_at, enqueued_at, available_at, write_in_doubt_until,
                     source_etag, source_version_id, source_crc64, source_request_id,
                     destination_etag, destination_crc64, destination_request_id,
                     error_code, error_detail)
                SELECT rule_id, key, 'pending', %s, %s, 0, %s,
                       GREATEST(LEAST(event_at, now()), not_before), now(),
                       GREATEST(now(), not_before), not_before, '', '', '', '', '', '', '', '', ''
                -- The turn first: no row is touched before the lock is held.
                FROM turn, json_to_recordset(%s)
                    AS o (rule_id bigint, key text, event_at timestamptz, not_before timestamptz)
                ON CONFLICT (rule_id, key) WHERE state = 'pending' DO UPDATE SET
                    event_at = LEAST(job.event_at, excluded.event_at),
                    available_at = LEAST(job.available_at, excluded.available_at),
                    write_in_doubt_until =
                        GREATEST(job.write_in_doubt_until, excluded.write_in_doubt_until),
                    priority = LEAST(job.priority, excluded.priority),
                    -- What waits to delete has to look afresh, and ask again.
                    delete_permit = replace(job.delete_permit, 'awaited', ''),
                    attempt_limit = job.attempt + excluded.attempt_limit
                RETURNING id)
            SELECT array_agg(id), pg_notify(%s, '') FROM made
            """,
            [
                PENDING_LOCK,
                origin,
                priority,
                settings.S3SYNC.max_attempts,
                json.dumps([vars(order) for order in merged], default=datetime.isoformat),
                WAKE_CHANNEL,
            ],
        )
        job_ids: list[int] = cursor.fetchone()[0]
    return job_ids


def _joined(one: JobOrder, other: JobOrder) -> JobOrder:
    """One order for two of the same key: the oldest change, the latest doubt."""
    return JobOrder(
        one.rule_id,
        one.key,
        min(filter(None, (one.event_at, other.event_at)), default=None),
        max(filter(None, (one.not_before, other.not_before)), default=None),
    )
