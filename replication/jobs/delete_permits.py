"""Permits to delete a replica: delete_brake.py decides, and the functions here record it.

A held delete is a pending job. The wait uses up no attempt, and an event for the key ends it.
held_deletes.py shows the held deletes to the person who may confirm them.
"""

from collections.abc import Sequence

from django.db import connection

from replication.jobs.claiming import RUNS, ClaimedJob
from replication.jobs.held_deletes import Place, read_in_order
from replication.jobs.pending_lock import alone
from replication.jobs.retrying import give_way_to_pending
from replication.jobs.waking import wake_lanes
from replication.models import DeletePermit, HoldReason, Job, JobState, Outcome, TransferJob


def await_confirmation(
    held: Sequence[ClaimedJob], *, reason: HoldReason = HoldReason.BRAKE
) -> dict[int, JobState]:
    """running → pending, not claimed before a person confirms the delete that the job wants.

    superseded instead, if the key has another pending job. Due at once, if the brake held it and
    the rule is not braked any longer: a person has confirmed since the brake was asked. Returns the
    new states of the jobs that were still ours.
    """
    if not held:
        return {}
    with alone() as cursor:  # so that no event for a key and no confirmation comes in between
        cursor.execute(
            f"""
            UPDATE replication_transferjob AS job
            SET state = CASE WHEN waiting.id IS NULL THEN 'pending' ELSE 'superseded' END,
                finalized_at = CASE WHEN waiting.id IS NULL THEN NULL::timestamptz ELSE now() END,
                delete_permit = CASE WHEN waiting.id IS NULL
                    AND (rule.braked_at IS NOT NULL OR %(reason)s <> 'brake')
                    THEN 'awaited' ELSE '' END,
                hold_reason = %(reason)s,
                -- Not now(): the transaction may have begun long before it got the lock.
                available_at = clock_timestamp(), lease_expires_at = NULL, claimed_by = NULL
            FROM unnest(%(ids)s::bigint[], %(tokens)s::int[]) AS held (id, token)
            JOIN replication_transferjob AS mine ON mine.id = held.id
            JOIN replication_replicationrule AS rule ON rule.id = mine.rule_id
            LEFT JOIN replication_transferjob AS waiting
                ON waiting.rule_id = mine.rule_id AND waiting.key = mine.key
                AND waiting.state = 'pending'
            WHERE job.id = held.id AND {RUNS} AND job.token = held.token
            RETURNING job.id, job.state
            """,  # noqa: S608 - inserts our own constants only
            {
                "reason": reason.value,
                "ids": [job.id for job in held],
                "tokens": [job.token for job in held],
            },
        )
        states = {job_id: JobState(state) for job_id, state in cursor.fetchall()}
        for job in held:
            if states.get(job.id) == JobState.SUPERSEDED:
                give_way_to_pending(job)
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


def confirmed_deletes(jobs: Sequence[ClaimedJob]) -> set[int]:
    """The ids of the jobs whose deletes a person has confirmed."""
    confirmed = TransferJob.objects.filter(
        pk__in=[job.id for job in jobs], delete_permit=DeletePermit.CONFIRMED
    )
    return set(confirmed.values_list("pk", flat=True))


def is_recorded_copy(job: ClaimedJob, *, destination_etag: str) -> bool:
    """Whether the record of the key's last copy under the rule names this replica."""
    copies = Job.objects.filter(
        key=job.key,
        rule_id=job.rule_id,
        state=JobState.COMPLETED,
        outcome__in=[Outcome.COPIED, Outcome.UNCHANGED],
    )
    last = copies.order_by("-finalized_at").values_list("destination_etag", flat=True).first()
    return bool(last) and last == destination_etag


def grant_deletes(jobs: Sequence[ClaimedJob]) -> set[int]:
    """Permit these running jobs to delete; return the ids of those that were still ours."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE replication_transferjob AS job SET delete_permit = 'granted'
            FROM unnest(%s::bigint[], %s::int[]) AS granted (id, token)
            WHERE job.id = granted.id AND job.token = granted.token AND {RUNS}
            RETURNING job.id
            """,  # noqa: S608 - inserts our own constants only
            [[job.id for job in jobs], [job.token for job in jobs]],
        )
        return {job_id for (job_id,) in cursor.fetchall()}


def confirm_deletes(rule_id: int, *, last: Place, limit: int) -> int:
    """Confirm up to `limit` of the rule's deletes that were held up to `last`, the oldest first.
    Returns how many."""
    with alone() as cursor:
        read_in_order(cursor)
        cursor.execute(
            """
            UPDATE replication_transferjob SET delete_permit = 'confirmed', available_at = now()
            WHERE state = 'pending' AND delete_permit = 'awaited' AND id IN (
                SELECT id FROM replication_transferjob
                WHERE rule_id = %s AND state = 'pending' AND delete_permit = 'awaited'
                  AND (available_at, id) <= (%s, %s)
                ORDER BY available_at, id
                LIMIT %s)
            """,
            [rule_id, last.held_at, last.job_id, limit],
        )
        confirmed = cursor.rowcount
    if confirmed:
        wake_lanes()
    return confirmed
