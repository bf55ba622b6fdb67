"""running → pending until S3 has restored an archived object.

The wait uses up no try, and an event of the key ends it.
"""

from django.db import IntegrityError, connection, transaction

from replication.errors import ReplicationError
from replication.jobs.claiming import ClaimedJob
from replication.jobs.retrying import bequeath
from replication.models import JobState

# S3 announces the end of a restore. Should the announcement get lost: we look after as long again
# as the change is old, within these.
RESTORE_LOOK_SECONDS = 3600
RESTORE_LOOK_AT_MOST_SECONDS = 6 * 3600


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
