"""The transitions that a person asks for: failed → pending, pending → cancelled."""

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from replication.jobs.enqueueing import JOBS_CHANNEL, PENDING_LOCK
from replication.models import DeletePermit, JobState, TransferJob

RETRY_BATCH = 1000


def retry(failed: QuerySet[TransferJob]) -> int:
    """failed → pending, due now and with a full allowance of attempts. Returns how many.

    One job of each key is enough: a key's other failed jobs, and failed jobs whose key already has
    a pending job, become superseded. The job that remains is for tags only if all of them were.
    `attempt` goes on counting, because no fencing token may be used twice.
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
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PENDING_LOCK])
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
                        UPDATE replication_transferjob AS job SET state = 'superseded'
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
                cursor.execute("SELECT pg_notify(%s, '')", [JOBS_CHANNEL])
            return moved
        except IntegrityError:
            # An event created a pending job of one of the keys meanwhile; the next round sees it.
            continue


def cancel(pending: QuerySet[TransferJob]) -> int:
    """pending → cancelled. Returns how many jobs."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PENDING_LOCK])
        return pending.filter(state=JobState.PENDING).update(
            state=JobState.CANCELLED, finalized_at=Now(), delete_permit=DeletePermit.NONE
        )
