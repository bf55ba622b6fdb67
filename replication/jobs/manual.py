"""The transitions that a person asks for: failed → pending, pending → cancelled."""

from collections.abc import Iterator

from django.conf import settings
from django.db import IntegrityError
from django.db.models import QuerySet
from django.db.models.functions import Now

from replication.jobs.ending import leave
from replication.jobs.pending_lock import BATCH, alone
from replication.jobs.waking import wake_lanes
from replication.models import DeletePermit, JobState, TransferJob


def retry(failed: QuerySet[TransferJob]) -> int:
    """failed → pending, due now and with a full allowance of attempts. Returns how many.

    One job of each key is enough: a key's other failed jobs, and failed jobs whose key already has
    a pending job, become superseded. The job that remains is for tags only if all of them were.
    `attempt` goes on counting, because no fencing token may be used twice.
    """
    return sum(map(_retry_batch, _batches(failed.filter(state=JobState.FAILED))))


def _batches(chosen: QuerySet[TransferJob]) -> Iterator[list[int]]:
    """The ids of these jobs, BATCH at a time, in their order."""
    job_ids = list(chosen.order_by("id").values_list("id", flat=True))
    for start in range(0, len(job_ids), BATCH):
        yield job_ids[start : start + BATCH]


def _retry_batch(job_ids: list[int]) -> int:
    while True:
        try:
            with alone() as cursor:
                cursor.execute(
                    """
                    WITH newest AS (
                        SELECT max(id) AS id, bool_and(only_tags) AS only_tags
                        FROM replication_transferjob
                        WHERE id = ANY(%(ids)s) AND state = 'failed'
                        GROUP BY rule_id, key)
                    UPDATE replication_transferjob AS job
                    SET state = 'pending', available_at = now(), finalized_at = NULL,
                        attempt_limit = attempt + %(tries)s, delete_permit = '',
                        only_tags = newest.only_tags
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
                    WITH superseded AS (
                        UPDATE replication_transferjob AS job
                        SET state = 'superseded', finalized_at = now()
                        WHERE id = ANY(%s) AND state = 'failed' AND EXISTS (
                            SELECT FROM replication_transferjob AS waiting
                            WHERE waiting.rule_id = job.rule_id AND waiting.key = job.key
                              AND waiting.state = 'pending')
                        RETURNING rule_id, key, only_tags)
                    UPDATE replication_transferjob AS waiting SET only_tags = false
                    FROM superseded
                    WHERE waiting.rule_id = superseded.rule_id AND waiting.key = superseded.key
                      AND waiting.state = 'pending' AND waiting.only_tags
                      AND NOT superseded.only_tags
                    """,
                    [job_ids],
                )
                leave(job_ids)
            wake_lanes()
            return moved
        except IntegrityError:
            # An event created a pending job of one of the keys meanwhile; the next round sees it.
            continue


def cancel(pending: QuerySet[TransferJob]) -> int:
    """pending → cancelled. Returns how many jobs."""
    return sum(map(_cancel_batch, _batches(pending.filter(state=JobState.PENDING))))


def _cancel_batch(job_ids: list[int]) -> int:
    with alone():
        pending = TransferJob.objects.filter(pk__in=job_ids, state=JobState.PENDING)
        pending.update(
            state=JobState.CANCELLED, finalized_at=Now(), delete_permit=DeletePermit.NONE
        )
        return leave(job_ids)
