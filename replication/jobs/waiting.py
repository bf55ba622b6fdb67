"""running → pending, but not to be tried again soon: for a person, or for S3, to do something.

Neither uses up a try, and an event of the key ends either wait.
"""

from collections.abc import Sequence
from datetime import datetime

from django.db import IntegrityError, connection, transaction

from replication.errors import ReplicationError
from replication.jobs.claiming import ClaimedJob
from replication.jobs.ending import bequeath
from replication.jobs.enqueueing import PENDING_LOCK, WAKE_CHANNEL
from replication.models import JobState

# S3 announces the end of a restore. Should the announcement get lost: we look after as long again
# as the change is old, within these.
RESTORE_LOOK_SECONDS = 3600
RESTORE_LOOK_AT_MOST_SECONDS = 6 * 3600


def await_confirmation(held: Sequence[ClaimedJob]) -> dict[int, JobState]:
    """running → pending, not to be claimed before a person confirms the delete that it wants.

    superseded instead, if another job of the key waits; due at once, if a person has confirmed
    since the brake was asked. Returns the states of those that were still ours.
    """
    if not held:
        return {}
    with transaction.atomic(), connection.cursor() as cursor:
        # Alone, so that no event of a key comes between, and no confirmation.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PENDING_LOCK])
        cursor.execute(
            """
            UPDATE replication_transferjob AS job
            SET state = CASE WHEN waiting.id IS NULL THEN 'pending' ELSE 'superseded' END,
                finalized_at = CASE WHEN waiting.id IS NULL THEN NULL::timestamptz ELSE now() END,
                delete_permit = CASE WHEN waiting.id IS NULL AND rule.braked_at IS NOT NULL
                    THEN 'awaited' ELSE '' END,
                available_at = now(), lease_expires_at = NULL, claimed_by = NULL
            FROM unnest(%s::bigint[], %s::int[], %s::timestamptz[])
                     AS held (id, attempt, started_at)
            JOIN replication_transferjob AS mine ON mine.id = held.id
            JOIN replication_replicationrule AS rule ON rule.id = mine.rule_id
            LEFT JOIN replication_transferjob AS waiting
                ON waiting.rule_id = mine.rule_id AND waiting.key = mine.key
                AND waiting.state = 'pending'
            WHERE job.id = held.id AND job.state = 'running' AND job.attempt = held.attempt
              AND job.started_at = held.started_at
            RETURNING job.id, job.state
            """,
            [
                [job.id for job in held],
                [job.attempt for job in held],
                [job.started_at for job in held],
            ],
        )
        states = {job_id: JobState(state) for job_id, state in cursor.fetchall()}
        for job in held:
            if states.get(job.id) == JobState.SUPERSEDED:
                bequeath(job)
    return states


def await_restore(job: ClaimedJob, error: ReplicationError) -> JobState | None:
    """running → pending until S3 has restored the object; superseded if a newer job waits.

    It is no unsuccessful try, but the job says what it waits for.
    """
    try:
        with transaction.atomic():
            return JobState.PENDING if _await_restore(job, error, JobState.PENDING) else None
    except IntegrityError:
        with transaction.atomic():
            moved = _await_restore(job, error, JobState.SUPERSEDED)
            bequeath(job)
        return JobState.SUPERSEDED if moved else None


def _await_restore(job: ClaimedJob, error: ReplicationError, state: JobState) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_transferjob
            SET state = %(state)s, error_code = %(code)s, error_detail = %(detail)s,
                lease_expires_at = NULL, claimed_by = NULL,
                available_at = now() + GREATEST(make_interval(secs => %(least)s),
                    LEAST(make_interval(secs => %(most)s), now() - event_at)),
                finalized_at = CASE WHEN %(state)s = 'pending' THEN NULL ELSE now() END
            WHERE id = %(id)s AND state = 'running' AND attempt = %(attempt)s
              AND started_at = %(started_at)s
            """,
            {
                "state": state.value,
                "code": error.code.value,
                "detail": error.detail,
                "least": RESTORE_LOOK_SECONDS,
                "most": RESTORE_LOOK_AT_MOST_SECONDS,
                "id": job.id,
                "attempt": job.attempt,
                "started_at": job.started_at,
            },
        )
        return bool(cursor.rowcount)


# -- permits to delete: brake.py decides, these write it down -----------------------------------


def permitted_deletes(jobs: Sequence[ClaimedJob]) -> set[int]:
    """Those of these jobs that may delete already: an earlier try was permitted to."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM replication_transferjob "
            "WHERE id = ANY(%s) AND delete_permit IN ('granted', 'confirmed')",
            [[job.id for job in jobs]],
        )
        return {job_id for (job_id,) in cursor.fetchall()}


def grant_deletes(jobs: Sequence[ClaimedJob]) -> set[int]:
    """Let these running jobs delete; returns those that were still ours."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_transferjob AS job SET delete_permit = 'granted'
            FROM unnest(%s::bigint[], %s::int[]) AS granted (id, attempt)
            WHERE job.id = granted.id AND job.attempt = granted.attempt AND job.state = 'running'
            RETURNING job.id
            """,
            [[job.id for job in jobs], [job.attempt for job in jobs]],
        )
        return {job_id for (job_id,) in cursor.fetchall()}


def confirm_deletes(rule_id: int, *, held_until: datetime, limit: int) -> int:
    """Let up to `limit` of the rule's jobs go on that were held by then; returns how many."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PENDING_LOCK])
        cursor.execute(
            """
            UPDATE replication_transferjob SET delete_permit = 'confirmed', available_at = now()
            WHERE state = 'pending' AND delete_permit = 'awaited' AND id IN (
                SELECT id FROM replication_transferjob
                WHERE rule_id = %s AND state = 'pending' AND delete_permit = 'awaited'
                  AND available_at <= %s
                LIMIT %s)
            """,
            [rule_id, held_until, limit],
        )
        confirmed = cursor.rowcount
        cursor.execute("SELECT pg_notify(%s, '')", [WAKE_CHANNEL])
    return confirmed


def release_unconfirmed(rule_id: int) -> None:
    """Have the rule's held jobs look and ask again; no job is held until the caller's transaction
    ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PENDING_LOCK])
        cursor.execute(
            """
            UPDATE replication_transferjob SET delete_permit = ''
            WHERE rule_id = %s AND state = 'pending' AND delete_permit = 'awaited'
            """,
            [rule_id],
        )
