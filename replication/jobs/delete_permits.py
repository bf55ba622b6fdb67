"""Permits to delete a replica: delete_brake.py decides, and the functions here record it.

A held delete is a pending job. The wait uses up no attempt, and an event for the key ends it.
"""

from collections.abc import Sequence
from datetime import datetime

from django.db import connection, transaction

from replication.jobs.claiming import ClaimedJob
from replication.jobs.enqueueing import JOBS_CHANNEL, PENDING_LOCK
from replication.jobs.retrying import merge_into_pending
from replication.models import JobState


def await_confirmation(held: Sequence[ClaimedJob]) -> dict[int, JobState]:
    """running → pending, not claimed before a person confirms the delete that the job wants.

    superseded instead, if the key has another pending job. Due at once, if the rule is not braked
    any longer, because a person has confirmed since the brake was asked. Returns the new states of
    the jobs that were still ours.
    """
    if not held:
        return {}
    with transaction.atomic(), connection.cursor() as cursor:
        # Exclusive, so that no event for a key and no confirmation comes in between.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PENDING_LOCK])
        cursor.execute(
            """
            UPDATE replication_transferjob AS job
            SET state = CASE WHEN waiting.id IS NULL THEN 'pending' ELSE 'superseded' END,
                finalized_at = CASE WHEN waiting.id IS NULL THEN NULL::timestamptz ELSE now() END,
                delete_permit = CASE WHEN waiting.id IS NULL AND rule.braked_at IS NOT NULL
                    THEN 'awaited' ELSE '' END,
                available_at = now(), lease_expires_at = NULL, claimed_by = NULL
            FROM unnest(%s::bigint[], %s::int[]) AS held (id, token)
            JOIN replication_transferjob AS mine ON mine.id = held.id
            JOIN replication_replicationrule AS rule ON rule.id = mine.rule_id
            LEFT JOIN replication_transferjob AS waiting
                ON waiting.rule_id = mine.rule_id AND waiting.key = mine.key
                AND waiting.state = 'pending'
            WHERE job.id = held.id AND job.state = 'running' AND job.token = held.token
            RETURNING job.id, job.state
            """,
            [[job.id for job in held], [job.token for job in held]],
        )
        states = {job_id: JobState(state) for job_id, state in cursor.fetchall()}
        for job in held:
            if states.get(job.id) == JobState.SUPERSEDED:
                merge_into_pending(job)
    return states


def permitted_deletes(jobs: Sequence[ClaimedJob]) -> set[int]:
    """The ids of the jobs that may delete already: an earlier attempt was permitted to."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM replication_transferjob "
            "WHERE id = ANY(%s) AND delete_permit IN ('granted', 'confirmed')",
            [[job.id for job in jobs]],
        )
        return {job_id for (job_id,) in cursor.fetchall()}


def grant_deletes(jobs: Sequence[ClaimedJob]) -> set[int]:
    """Permit these running jobs to delete; return the ids of those that were still ours."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_transferjob AS job SET delete_permit = 'granted'
            FROM unnest(%s::bigint[], %s::int[]) AS granted (id, token)
            WHERE job.id = granted.id AND job.token = granted.token AND job.state = 'running'
            RETURNING job.id
            """,
            [[job.id for job in jobs], [job.token for job in jobs]],
        )
        return {job_id for (job_id,) in cursor.fetchall()}


def confirm_deletes(rule_id: int, *, held_until: datetime, limit: int) -> int:
    """Confirm up to `limit` of the rule's deletes that were held by then; return how many."""
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
        cursor.execute("SELECT pg_notify(%s, '')", [JOBS_CHANNEL])
    return confirmed


def release_unconfirmed(rule_id: int) -> None:
    """Let the rule's held jobs look and ask again. Until the caller's transaction ends, no job can
    be held."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PENDING_LOCK])
        cursor.execute(
            """
            UPDATE replication_transferjob SET delete_permit = ''
            WHERE rule_id = %s AND state = 'pending' AND delete_permit = 'awaited'
            """,
            [rule_id],
        )
