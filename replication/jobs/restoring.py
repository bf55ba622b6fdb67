"""running → pending until S3 has restored an archived object.

The wait uses up no attempt, and an event for the key ends it.
"""

from django.db import IntegrityError, connection, transaction

from replication.errors import ReplicationError
from replication.jobs.claiming import ClaimedJob
from replication.jobs.retrying import give_way_to_pending
from replication.models import JobState

# S3 announces the end of a restore. In case the announcement is lost, look again after a delay that
# equals the age of the change, within these bounds.
RESTORE_CHECK_MIN_SECONDS = 3600
RESTORE_CHECK_MAX_SECONDS = 6 * 3600


def await_restore(job: ClaimedJob, error: ReplicationError) -> JobState | None:
    """running → pending until S3 has restored the object; superseded if a newer job waits.

    This is not an unsuccessful attempt, but the job's error says what it waits for. Returns None if
    the job is not ours any more.
    """
    try:
        with transaction.atomic():
            return JobState.PENDING if _await_restore(job, error, JobState.PENDING) else None
    except IntegrityError:
        with transaction.atomic():
            moved = _await_restore(job, error, JobState.SUPERSEDED)
            give_way_to_pending(job)
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
            WHERE id = %(id)s AND state = 'running' AND token = %(token)s
            """,
            {
                "state": state.value,
                "code": error.code.value,
                "detail": error.detail,
                "least": RESTORE_CHECK_MIN_SECONDS,
                "most": RESTORE_CHECK_MAX_SECONDS,
                "id": job.id,
                "token": job.token,
            },
        )
        return bool(cursor.rowcount)
