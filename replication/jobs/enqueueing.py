"""→ pending: a key that a rule must look at becomes a job, or joins the key's pending job."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import connection

from replication.jobs.pending_lock import PENDING_LOCK
from replication.jobs.waking import wake_lanes
from replication.models import JobOrigin

# Fresh events go before keys that an operator asked to look at again.
PRIORITY_EVENT = 0
PRIORITY_BULK = 10
PRIORITY_SWEEP_FIRST = 15  # keys of a sweep that go before its others
PRIORITY_SWEEP = 20


@dataclass(frozen=True)
class JobOrder:
    """A key that a rule must look at.

    `event_at` is when the change was announced, if known. With `not_before`, an earlier write may
    still land until then, and the job is due after that. With `ignores_filters`, a person asked for
    the key, whatever the rule's filters say. With `only_tags`, nothing but tags changed.
    """

    rule_id: int
    key: str
    event_at: datetime | None = None
    not_before: datetime | None = None
    ignores_filters: bool = False
    only_tags: bool = False


def enqueue(orders: Iterable[JobOrder], *, origin: JobOrigin, priority: int) -> list[int]:
    """Create a pending job for each key, or join the one that exists; wake the lanes on commit.

    Returns the job ids, one for each distinct (rule, key). A joined job becomes due as soon as a
    new job would, because something happened to the key. It keeps the oldest `event_at`, so that
    its lag counts from the oldest change not yet served. It also keeps the latest `not_before`: if
    the key is copied before then, it is looked at once more after it. It is for tags only if all of
    its orders are.
    """
    by_key: dict[tuple[int, str], JobOrder] = {}
    for order in orders:
        rule_key = (order.rule_id, order.key)
        by_key[rule_key] = _merged(by_key[rule_key], order) if rule_key in by_key else order
    if not by_key:
        return []
    # Sorted, so that two transactions that enqueue the same keys can't deadlock.
    merged = [by_key[rule_key] for rule_key in sorted(by_key)]
    # One statement, which is its own transaction where the caller has none: each further statement
    # costs a round trip, and a single event waits for all of them.
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(%s)),
            made AS (
                INSERT INTO replication_transferjob AS job
                    (rule_id, key, state, origin, priority, attempt, attempt_limit,
                     event_at, enqueued_at, available_at, write_in_doubt_until, ignores_filters,
                     only_tags)
                SELECT rule_id, key, 'pending', %s, %s, 0, %s,
                       GREATEST(LEAST(event_at, now()), not_before), now(),
                       GREATEST(now(), not_before), not_before, ignores_filters,
                       only_tags
                -- `locked` first: no row is touched before the lock is held.
                FROM locked, json_to_recordset(%s)
                    AS o (rule_id bigint, key text, event_at timestamptz, not_before timestamptz,
                          ignores_filters boolean, only_tags boolean)
                ON CONFLICT (rule_id, key) WHERE state = 'pending' DO UPDATE SET
                    -- Nobody waited for what a comparison of both buckets has found.
                    origin = CASE WHEN job.origin = 'sweep' THEN excluded.origin
                        ELSE job.origin END,
                    event_at = CASE WHEN job.origin = 'sweep' THEN excluded.event_at
                        ELSE LEAST(job.event_at, excluded.event_at) END,
                    available_at = LEAST(job.available_at, excluded.available_at),
                    write_in_doubt_until =
                        GREATEST(job.write_in_doubt_until, excluded.write_in_doubt_until),
                    priority = LEAST(job.priority, excluded.priority),
                    ignores_filters = job.ignores_filters OR excluded.ignores_filters,
                    only_tags = job.only_tags AND excluded.only_tags,
                    -- A job that waits to delete must look again, and ask again.
                    delete_permit = replace(job.delete_permit, 'awaited', ''),
                    attempt_limit = job.attempt + excluded.attempt_limit
                RETURNING id),
            -- What has just come is the first to be tried where a rule is parked by its objects.
            hurried AS (
                UPDATE replication_circuit SET probe_at = now() + interval '1 s'
                WHERE id IN (
                    SELECT id FROM replication_circuit
                    WHERE opened_at IS NOT NULL AND scope = 'rule' AND place = ANY(%s)
                      AND probe_at > now() + interval '1 s'
                    FOR UPDATE SKIP LOCKED))
            SELECT array_agg(id) FROM made
            """,
            [
                PENDING_LOCK,
                origin,
                priority,
                settings.S3SYNC.max_attempts,
                json.dumps([vars(order) for order in merged], default=datetime.isoformat),
                list({str(order.rule_id) for order in merged}),
            ],
        )
        job_ids: list[int] = cursor.fetchone()[0]
    wake_lanes()
    return job_ids


def _merged(one: JobOrder, other: JobOrder) -> JobOrder:
    """One order for two of the same key, with the oldest `event_at` and the latest `not_before`."""
    return JobOrder(
        one.rule_id,
        one.key,
        min(filter(None, (one.event_at, other.event_at)), default=None),
        max(filter(None, (one.not_before, other.not_before)), default=None),
        one.ignores_filters or other.ignores_filters,
        one.only_tags and other.only_tags,
    )


def enqueue_if_idle(
    orders: Iterable[JobOrder], *, origin: JobOrigin, priority: int, first: Collection[str] = ()
) -> int:
    """Create a pending job for each key that has none, and wake the lanes. Returns how many.

    The keys of `first` go before all others of sweeps.

    A key that has a pending job is left alone: it will be looked at, and must not be looked at
    sooner, more often or without a person's confirmation because somebody compared the buckets.
    """
    ordered = sorted({(order.rule_id, order.key) for order in orders})
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(%s))
            INSERT INTO replication_transferjob
                (rule_id, key, state, origin, priority, attempt, attempt_limit,
                 event_at, enqueued_at, available_at, ignores_filters, only_tags)
            SELECT rule_id, key, 'pending', %s, priority, 0, %s,
                   now(), now(), now(), false, false
            FROM locked, json_to_recordset(%s) AS o (rule_id bigint, key text, priority int)
            ON CONFLICT (rule_id, key) WHERE state = 'pending' DO NOTHING
            """,
            [
                PENDING_LOCK,
                origin,
                settings.S3SYNC.max_attempts,
                json.dumps(
                    [
                        {
                            "rule_id": rule_id,
                            "key": key,
                            "priority": PRIORITY_SWEEP_FIRST if key in first else priority,
                        }
                        for rule_id, key in ordered
                    ]
                ),
            ],
        )
        created = cursor.rowcount
    wake_lanes()
    return created
