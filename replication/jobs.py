"""The only module that changes TransferJob.state.

Each transition is one statement that names the state, and for a running job the attempt,
that it starts from: whoever comes too late changes nothing and is told so. The database's
clock decides what is due and which lease has run out.
"""

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet, Subquery
from django.db.models.functions import Greatest, Least, Now

from replication.errors import ErrorCode, ReplicationError
from replication.models import (
    LAG_BOUNDS_SECONDS,
    JobOrigin,
    JobState,
    Outcome,
    TransferAttempt,
    TransferJob,
)

# Lanes listen here to start a job the moment it is committed.
WAKE_CHANNEL = "s3sync_jobs"

# Fresh events go before what an operator asked to look at again.
PRIORITY_EVENT = 0
PRIORITY_BULK = 10

RETRY_BATCH = 1000

# What a destination that throttled is given doubles so often, and is no longer counted after that.
WIDTH_DOUBLES_SECONDS = 2.0
WIDTH_FORGOTTEN_SECONDS = 120.0

# Held, in PostgreSQL, by who touches many pending jobs: shared by those who do it in the order of
# their keys, alone by those who don't. Else they would deadlock.
_PENDING_LOCK = 0x53335331


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


@dataclass(frozen=True)
class ClaimedJob:
    """What a lane needs to know of a job that it holds; `attempt` is its fencing token."""

    id: int
    rule_id: int
    key: str
    attempt: int
    attempt_limit: int
    started_at: datetime
    write_in_doubt_until: datetime | None = None  # if that was still to come when it was claimed


@dataclass(frozen=True)
class Completion:
    """How a job ended well: the outcome, and the proof of it."""

    outcome: Outcome
    size_bytes: int | None = None
    source_etag: str = ""
    source_version_id: str = ""
    source_crc64: str = ""
    source_request_id: str = ""
    destination_etag: str = ""
    destination_crc64: str = ""
    destination_request_id: str = ""


# -- in ----------------------------------------------------------------------------------------


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
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [_PENDING_LOCK])
        cursor.execute(
            """
            INSERT INTO replication_transferjob AS job
                (rule_id, key, state, origin, priority, attempt, attempt_limit,
                 event_at, enqueued_at, available_at, write_in_doubt_until,
                 source_etag, source_version_id, source_crc64, source_request_id,
                 destination_etag, destination_crc64, destination_request_id,
                 error_code, error_detail)
            SELECT rule_id, key, 'pending', %s, %s, 0, %s,
                   GREATEST(LEAST(event_at, now()), not_before), now(),
                   GREATEST(now(), not_before), not_before, '', '', '', '', '', '', '', '', ''
            FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[], %s::timestamptz[])
                AS o (rule_id, key, event_at, not_before)
            ON CONFLICT (rule_id, key) WHERE state = 'pending' DO UPDATE SET
                event_at = LEAST(job.event_at, excluded.event_at),
                available_at = LEAST(job.available_at, excluded.available_at),
                write_in_doubt_until =
                    GREATEST(job.write_in_doubt_until, excluded.write_in_doubt_until),
                priority = LEAST(job.priority, excluded.priority),
                attempt_limit = job.attempt + excluded.attempt_limit
            RETURNING id
            """,
            [
                origin,
                priority,
                settings.S3SYNC.max_attempts,
                [order.rule_id for order in merged],
                [order.key for order in merged],
                [order.event_at for order in merged],
                [order.not_before for order in merged],
            ],
        )
        job_ids = [row[0] for row in cursor.fetchall()]
        cursor.execute("SELECT pg_notify(%s, '')", [WAKE_CHANNEL])
    return job_ids


def _joined(one: JobOrder, other: JobOrder) -> JobOrder:
    """One order for two of the same key: the oldest change, the latest doubt."""
    return JobOrder(
        one.rule_id,
        one.key,
        min(filter(None, (one.event_at, other.event_at)), default=None),
        max(filter(None, (one.not_before, other.not_before)), default=None),
    )


# -- pending → running -------------------------------------------------------------------------


def claim(
    lane: UUID,
    *,
    limit: int,
    lease_seconds: float,
    room: Mapping[int, int] | None = None,
    parked_rule_id: int | None = None,
) -> list[ClaimedJob]:
    """Take up to `limit` due jobs of the rules that may run: the first of each rule, then the
    second of each, so that no rule's backlog holds up another's.

    May run: enabled, not paused, not parked, to a destination that is not throttled; with
    `parked_rule_id`, that parked rule alone. `room` bounds how many are taken of a rule, and so do
    the limits of rule and destination; whoever must not overstep these claims through pace.py.
    Never takes a job whose key another job is running for: that stays pending until the other is
    settled.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH place AS MATERIALIZED (
                -- How many more jobs may run to each destination, if that is limited.
                SELECT id, LEAST(
                    CASE WHEN width_at > now() - make_interval(secs => %(forget)s) THEN
                        floor(width * 2 ^ (GREATEST(0, extract(epoch FROM now() - width_at))
                                           / %(doubling)s))
                        - (SELECT count(*) FROM replication_transferjob AS writer
                           JOIN replication_replicationrule AS its ON its.id = writer.rule_id
                           WHERE writer.state = 'running'
                             AND its.destination_id = destination.id) END,
                    floor(max_requests_per_second * extract(epoch FROM
                        now() - GREATEST(requests_paced_until, now() - interval '1 s')))
                )::int AS room
                FROM replication_destination AS destination
                WHERE throttled_until IS NULL OR throttled_until <= now()
            ), due AS MATERIALIZED (
                SELECT id FROM (
                  SELECT *, row_number() OVER (PARTITION BY place_id
                                               ORDER BY priority, turn, available_at) AS place_turn
                  FROM (
                    SELECT job.*, place.id AS place_id, place.room AS place_room,
                           row_number() OVER (PARTITION BY rule.id
                                              ORDER BY priority, available_at) AS turn
                    FROM replication_replicationrule AS rule
                    JOIN place ON place.id = rule.destination_id
                    LEFT JOIN unnest(%(room_rules)s::bigint[], %(rooms)s::int[])
                        AS room (rule_id, jobs) ON room.rule_id = rule.id
                    CROSS JOIN LATERAL (
                        SELECT id, priority, available_at
                        FROM replication_transferjob AS waiting
                        WHERE rule_id = rule.id AND state = 'pending' AND available_at <= now()
                          AND NOT EXISTS (
                              SELECT FROM replication_transferjob AS writer
                              WHERE writer.rule_id = waiting.rule_id AND writer.key = waiting.key
                                AND writer.state = 'running')
                        ORDER BY priority, available_at
                        LIMIT GREATEST(0, LEAST(%(limit)s, room.jobs, place.room,
                            CASE WHEN rule.max_concurrency IS NOT NULL THEN rule.max_concurrency
                                - (SELECT count(*) FROM replication_transferjob AS writer
                                   WHERE writer.rule_id = rule.id AND writer.state = 'running')
                            END))
                        FOR UPDATE SKIP LOCKED
                    ) AS job
                    WHERE rule.enabled AND rule.paused_at IS NULL
                      AND (rule.parked_at IS NULL AND %(parked)s IS NULL OR rule.id = %(parked)s)
                  ) AS of_rules
                ) AS of_places
                WHERE place_room IS NULL OR place_turn <= place_room
                ORDER BY priority, turn, available_at
                LIMIT %(limit)s
            )
            UPDATE replication_transferjob AS job
            SET state = 'running', claimed_by = %(lane)s, started_at = now(),
                lease_expires_at = now() + make_interval(secs => %(lease)s)
            FROM due WHERE job.id = due.id
            RETURNING job.id, job.rule_id, job.key, job.attempt, job.attempt_limit, job.started_at,
                CASE WHEN job.write_in_doubt_until > now() THEN job.write_in_doubt_until END
            """,
            {
                "limit": limit,
                "lane": lane,
                "lease": lease_seconds,
                "room_rules": list(room or ()),
                "rooms": list((room or {}).values()),
                "parked": parked_rule_id,
                "doubling": WIDTH_DOUBLES_SECONDS,
                "forget": WIDTH_FORGOTTEN_SECONDS,
            },
        )
        return [ClaimedJob(*row) for row in cursor.fetchall()]


def extend_leases(
    lane: UUID, held: Collection[ClaimedJob], *, lease_seconds: float
) -> set[tuple[int, int]]:
    """Extend the leases of these jobs where the lane still holds them: (id, attempt) of those.

    Jobs that the lane does not know it has, from a claim whose answer was lost, are left to rescue.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_transferjob AS job
            SET lease_expires_at = now() + make_interval(secs => %s)
            FROM unnest(%s::bigint[], %s::int[]) AS held (id, attempt)
            WHERE job.id = held.id AND job.attempt = held.attempt
              AND job.state = 'running' AND job.claimed_by = %s
            RETURNING job.id, job.attempt
            """,
            [lease_seconds, [job.id for job in held], [job.attempt for job in held], lane],
        )
        return set(cursor.fetchall())


# -- running → … -------------------------------------------------------------------------------


def complete(completions: Sequence[tuple[ClaimedJob, Completion]]) -> set[int]:
    """running → completed, many in one statement, which counts them for status too.

    Returns the ids that were still ours. What was copied while an earlier write might still have
    landed is looked at once more when it can't any longer.
    """
    in_doubt = [job for job, _ in completions if job.write_in_doubt_until]
    if not in_doubt:
        return _complete(completions)
    with transaction.atomic():
        completed = _complete(completions)
        enqueue(
            [
                JobOrder(job.rule_id, job.key, not_before=job.write_in_doubt_until)
                for job in in_doubt
                if job.id in completed
            ],
            origin=JobOrigin.DOUBT,
            priority=PRIORITY_EVENT,
        )
    return completed


def _complete(completions: Sequence[tuple[ClaimedJob, Completion]]) -> set[int]:
    if not completions:
        return set()
    columns: list[list[Any]] = [
        list(column)
        for column in zip(
            *(
                (
                    job.id,
                    job.attempt,
                    done.outcome,
                    done.size_bytes,
                    done.source_etag,
                    done.source_version_id,
                    done.source_crc64,
                    done.source_request_id,
                    done.destination_etag,
                    done.destination_crc64,
                    done.destination_request_id,
                )
                for job, done in completions
            ),
            strict=True,
        )
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH completed AS (
                UPDATE replication_transferjob AS job
                SET state = 'completed', finalized_at = now(),
                    lease_expires_at = NULL, claimed_by = NULL,
                    outcome = done.outcome, size_bytes = done.size_bytes,
                    source_etag = done.source_etag, source_version_id = done.source_version_id,
                    source_crc64 = done.source_crc64, source_request_id = done.source_request_id,
                    destination_etag = done.destination_etag,
                    destination_crc64 = done.destination_crc64,
                    destination_request_id = done.destination_request_id,
                    error_code = '', error_detail = ''
                FROM unnest(%s::bigint[], %s::int[], %s::text[], %s::bigint[], %s::text[],
                            %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
                    AS done (id, attempt, outcome, size_bytes, source_etag, source_version_id,
                             source_crc64, source_request_id, destination_etag, destination_crc64,
                             destination_request_id)
                WHERE job.id = done.id AND job.state = 'running' AND job.attempt = done.attempt
                RETURNING job.id, job.rule_id, job.outcome, job.size_bytes,
                    width_bucket(extract(epoch FROM now() - job.event_at)::float8, %s::float8[])
                        AS lag_bucket
            ), counted AS (
                INSERT INTO replication_completedminute AS sofar
                    (rule_id, minute, jobs, copied_bytes, lag_counts)
                SELECT rule_id, date_trunc('minute', now()), count(*),
                       coalesce(sum(size_bytes) FILTER (WHERE outcome = 'copied'), 0),
                       ARRAY(SELECT count(same.bucket)::int
                             FROM generate_series(0, %s) AS number
                             LEFT JOIN unnest(array_agg(lag_bucket)) AS same (bucket)
                                    ON same.bucket = number
                             GROUP BY number ORDER BY number)
                FROM completed GROUP BY rule_id
                ORDER BY rule_id  -- so that two lanes can't deadlock
                ON CONFLICT (minute, rule_id) DO UPDATE SET
                    jobs = sofar.jobs + excluded.jobs,
                    copied_bytes = sofar.copied_bytes + excluded.copied_bytes,
                    lag_counts = ARRAY(
                        SELECT had + came
                        FROM unnest(sofar.lag_counts, excluded.lag_counts) WITH ORDINALITY
                            AS both_counts (had, came, number)
                        ORDER BY number)
            )
            SELECT id FROM completed
            """,
            [*columns, LAG_BOUNDS_SECONDS, len(LAG_BOUNDS_SECONDS)],
        )
        return {row[0] for row in cursor.fetchall()}


def retry_later(
    job: ClaimedJob,
    error: ReplicationError,
    *,
    uses_up_a_try: bool = True,
    if_lease_expired: bool = False,
) -> JobState | None:
    """running → pending after a backoff; superseded if a newer job waits; failed if exhausted.

    Without `uses_up_a_try` the job has as many tries left as before, for the error was not of
    its making, and it is due as soon as the server's hint allows.
    """
    end_try = partial(
        _end_try, job, error, more_tries=not uses_up_a_try, if_lease_expired=if_lease_expired
    )
    if uses_up_a_try and job.attempt + 1 >= job.attempt_limit:
        with transaction.atomic():
            return JobState.FAILED if end_try(state=JobState.FAILED) else None
    delay = (
        backoff_seconds(job.attempt, hint_seconds=error.retry_after_seconds)
        if uses_up_a_try
        else error.retry_after_seconds
    )
    try:
        with transaction.atomic():
            moved = end_try(state=JobState.PENDING, delay_seconds=delay)
        return JobState.PENDING if moved else None
    except IntegrityError:
        # A pending job of the key exists. It can't run before we are settled, so it looks
        # at the source after us.
        with transaction.atomic():
            moved = end_try(state=JobState.SUPERSEDED)
            _bequeath(job)
        return JobState.SUPERSEDED if moved else None


def fail(job: ClaimedJob, error: ReplicationError) -> JobState | None:
    """running → failed."""
    with transaction.atomic():
        return JobState.FAILED if _end_try(job, error, state=JobState.FAILED) else None


def hand_over(job: ClaimedJob) -> bool:
    """running → pending, due at once, the attempt unchanged: the lane has to end.

    superseded instead, if another job of the key waits.
    """
    ours = TransferJob.objects.filter(id=job.id, state=JobState.RUNNING, attempt=job.attempt)
    free: dict[str, Any] = {"lease_expires_at": None, "claimed_by": None}
    try:
        with transaction.atomic():
            moved = ours.update(state=JobState.PENDING, available_at=Now(), **free)
    except IntegrityError:
        with transaction.atomic():
            moved = ours.update(state=JobState.SUPERSEDED, finalized_at=Now(), **free)
            _bequeath(job)
    return bool(moved)


def rescue(*, limit: int) -> int:
    """Settle jobs whose lane let the lease run out, as unsuccessful tries. Returns how many."""
    expired = TransferJob.objects.filter(state=JobState.RUNNING, lease_expires_at__lt=Now())
    # Whoever died may have sent it all.
    error = ReplicationError(ErrorCode.LEASE_EXPIRED, may_still_land=True)
    rescued = 0
    for job in expired.order_by("lease_expires_at")[:limit]:
        assert job.started_at is not None
        claimed = ClaimedJob(
            job.id, job.rule_id, job.key, job.attempt, job.attempt_limit, job.started_at
        )
        rescued += retry_later(claimed, error, if_lease_expired=True) is not None
    return rescued


# -- by a person -------------------------------------------------------------------------------


def retry(failed: QuerySet[TransferJob]) -> int:
    """failed → pending, due now and with a full allowance of tries. Returns how many.

    One job of each key is enough: the others, and those whose key has a pending job already,
    are superseded by it. The attempt goes on counting: as the fencing token it must never be
    used twice.
    """
    job_ids = list(failed.filter(state=JobState.FAILED).order_by("id").values_list("id", flat=True))
    moved = 0
    for start in range(0, len(job_ids), RETRY_BATCH):
        moved += _retry_batch(job_ids[start : start + RETRY_BATCH])
    return moved


def _retry_batch(job_ids: list[int]) -> int:
    while True:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_PENDING_LOCK])
                cursor.execute(
                    """
                    WITH newest AS (
                        SELECT DISTINCT ON (rule_id, key) id FROM replication_transferjob
                        WHERE id = ANY(%(ids)s) AND state = 'failed'
                        ORDER BY rule_id, key, id DESC)
                    UPDATE replication_transferjob AS job
                    SET state = 'pending', available_at = now(), finalized_at = NULL,
                        attempt_limit = attempt + %(tries)s
                    FROM newest
                    WHERE job.id = newest.id AND job.state = 'failed' AND NOT EXISTS (
                        SELECT FROM replication_transferjob AS waiting
                        WHERE waiting.rule_id = job.rule_id AND waiting.key = job.key
                          AND waiting.state = 'pending')
                    """,
                    {"ids": job_ids, "tries": settings.S3SYNC.max_attempts},
                )
                moved = cursor.rowcount
                cursor.execute(
                    """
                    UPDATE replication_transferjob AS job SET state = 'superseded'
                    WHERE id = ANY(%s) AND state = 'failed' AND EXISTS (
                        SELECT FROM replication_transferjob AS waiting
                        WHERE waiting.rule_id = job.rule_id AND waiting.key = job.key
                          AND waiting.state = 'pending')
                    """,
                    [job_ids],
                )
                cursor.execute("SELECT pg_notify(%s, '')", [WAKE_CHANNEL])
            return moved
        except IntegrityError:
            # An event made a pending job of one of the keys meanwhile; that one is seen now.
            continue


def cancel(pending: QuerySet[TransferJob]) -> int:
    """pending → cancelled. Returns how many."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_PENDING_LOCK])
        return pending.filter(state=JobState.PENDING).update(
            state=JobState.CANCELLED, finalized_at=Now()
        )


# -- parts of transitions ----------------------------------------------------------------------


def backoff_seconds(attempt: int, *, hint_seconds: float = 0) -> float:
    """Exponential backoff with full jitter, never less than the server's own hint.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    ceiling = min(
        settings.S3SYNC.retry_cap_seconds,
        settings.S3SYNC.retry_base_seconds * 2.0 ** min(attempt, 32),
    )
    return hint_seconds + random.uniform(0, ceiling)  # noqa: S311 - spreads load, guards nothing


def _bequeath(job: ClaimedJob) -> None:
    """Let the pending job of the key serve the superseded one's change, so that lag is honest,
    and live with its doubt."""
    superseded = TransferJob.objects.filter(id=job.id)
    TransferJob.objects.filter(rule_id=job.rule_id, key=job.key, state=JobState.PENDING).update(
        event_at=Least("event_at", Subquery(superseded.values("event_at"))),
        write_in_doubt_until=Greatest(
            "write_in_doubt_until", Subquery(superseded.values("write_in_doubt_until"))
        ),
    )


def _end_try(
    job: ClaimedJob,
    error: ReplicationError,
    *,
    state: JobState,
    delay_seconds: float = 0,
    more_tries: bool = False,
    if_lease_expired: bool = False,
) -> bool:
    """Count the try and record why it was unsuccessful, in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_transferjob
            SET state = %(state)s, attempt = attempt + 1,
                attempt_limit = attempt_limit + %(more_tries)s::int,
                error_code = %(code)s, error_detail = %(detail)s,
                lease_expires_at = NULL, claimed_by = NULL,
                available_at = now() + make_interval(secs => %(delay)s),
                write_in_doubt_until = CASE WHEN %(may_still_land)s
                    THEN GREATEST(write_in_doubt_until, now() + make_interval(secs => %(doubt)s))
                    ELSE write_in_doubt_until END,
                finalized_at = CASE WHEN %(state)s = 'pending' THEN NULL ELSE now() END
            WHERE id = %(id)s AND state = 'running' AND attempt = %(attempt)s
              AND (NOT %(if_lease_expired)s OR lease_expires_at < now())
            """,
            {
                "state": state.value,
                "code": error.code.value,
                "detail": error.detail,
                "delay": delay_seconds,
                "may_still_land": error.may_still_land,
                # OSS may sit on a request for as long as we would have waited for its answer.
                "doubt": settings.S3SYNC.read_timeout_seconds,
                "id": job.id,
                "attempt": job.attempt,
                "more_tries": more_tries,
                "if_lease_expired": if_lease_expired,
            },
        )
        if not cursor.rowcount:
            return False
    TransferAttempt.objects.create(
        job_id=job.id,
        number=job.attempt + 1,
        started_at=job.started_at,
        ended_at=Now(),
        code=error.code,
        detail=error.detail,
        request_id=error.request_id,
    )
    return True
