"""running → pending, superseded or failed, after an attempt that did not succeed or was stopped."""

import random
from functools import partial
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Case, Exists, Subquery, When
from django.db.models.functions import Greatest, Least, Now

from replication.errors import ErrorCode, ReplicationError
from replication.jobs.claiming import ClaimedJob
from replication.jobs.ending import leave
from replication.models import JobState, TransferAttempt, TransferJob

# Rows for each total. A lane keeps its connection and so its row, which few other lanes share.
TRIES_SHARDS = 16


def retry_later(
    job: ClaimedJob,
    error: ReplicationError,
    *,
    uses_up_a_try: bool = True,
    if_lease_expired: bool = False,
) -> JobState | None:
    """running → pending after a backoff, superseded if a newer job waits, or failed if no attempt
    is left. Returns None if the job is not ours any more.

    Without `uses_up_a_try` the job has as many attempts left as before: it is tried for as long as
    the error lasts, after the same backoff.
    """
    end_attempt = partial(
        _end_attempt,
        job,
        error,
        allows_another=not uses_up_a_try,
        if_lease_expired=if_lease_expired,
    )
    if uses_up_a_try and job.attempt + 1 >= job.attempt_limit:
        with transaction.atomic():
            return JobState.FAILED if end_attempt(state=JobState.FAILED) else None
    delay = backoff_seconds(job.attempt, hint_seconds=error.retry_after_seconds)
    try:
        with transaction.atomic():
            moved = end_attempt(state=JobState.PENDING, delay_seconds=delay)
        return JobState.PENDING if moved else None
    except IntegrityError:
        # The key has a pending job. It can't run before this job is settled, so it looks at the
        # source after this job did.
        with transaction.atomic():
            moved = end_attempt(state=JobState.SUPERSEDED)
            give_way_to_pending(job)
        return JobState.SUPERSEDED if moved else None


def fail(job: ClaimedJob, error: ReplicationError) -> JobState | None:
    """running → failed. Returns None if the job is not ours any more."""
    with transaction.atomic():
        return JobState.FAILED if _end_attempt(job, error, state=JobState.FAILED) else None


def hand_over(job: ClaimedJob, *, size_bytes: int | None = None) -> bool:
    """running → pending, with `attempt` and its turn unchanged: the lane must end, or has no place
    for an object of this size.

    superseded instead, if the key has another pending job. Returns whether the job was still ours.
    """
    ours = TransferJob.objects.filter(id=job.id, state=JobState.RUNNING, token=job.token)
    free: dict[str, Any] = {"lease_expires_at": None, "claimed_by": None}
    try:
        with transaction.atomic():
            moved = ours.update(state=JobState.PENDING, size_bytes=size_bytes, **free)
    except IntegrityError:
        with transaction.atomic():
            moved = ours.update(state=JobState.SUPERSEDED, finalized_at=Now(), **free)
            give_way_to_pending(job)
    return bool(moved)


def rescue(*, limit: int) -> int:
    """Settle jobs whose lane let the lease expire, as unsuccessful attempts. Returns how many."""
    expired = TransferJob.objects.filter(state=JobState.RUNNING, lease_expires_at__lt=Now())
    # The lane may have sent the whole object.
    error = ReplicationError(ErrorCode.LEASE_EXPIRED, may_still_land=True)
    rescued = 0
    for job in expired.order_by("lease_expires_at")[:limit]:
        assert job.started_at is not None
        claimed = ClaimedJob(
            job.id,
            job.token,
            job.rule_id,
            job.key,
            job.attempt,
            job.attempt_limit,
            job.started_at,
            rule_version=0,  # nothing is settled under it: the job is retried
        )
        rescued += retry_later(claimed, error, if_lease_expired=True) is not None
    return rescued


def backoff_seconds(attempt: int, *, hint_seconds: float = 0) -> float:
    """Exponential backoff with full jitter, never less than the server's own hint.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    ceiling = min(
        settings.S3SYNC.retry_cap_seconds,
        settings.S3SYNC.retry_base_seconds * 2.0 ** min(attempt, 32),
    )
    return hint_seconds + random.uniform(0, ceiling)  # noqa: S311 - spreads load, guards nothing


def give_way_to_pending(job: ClaimedJob) -> None:
    """Let the key's pending job serve the superseded job's change too, which leaves the queue.

    It takes the older `event_at`, so that its lag is honest, and the later `write_in_doubt_until`.
    It is for tags only if both jobs are.
    """
    superseded = TransferJob.objects.filter(id=job.id)
    TransferJob.objects.filter(rule_id=job.rule_id, key=job.key, state=JobState.PENDING).update(
        event_at=Least("event_at", Subquery(superseded.values("event_at"))),
        write_in_doubt_until=Greatest(
            "write_in_doubt_until", Subquery(superseded.values("write_in_doubt_until"))
        ),
        only_tags=Case(
            When(Exists(superseded.filter(only_tags=False)), then=False), default="only_tags"
        ),
    )
    leave([job.id])


def _end_attempt(
    job: ClaimedJob,
    error: ReplicationError,
    *,
    state: JobState,
    delay_seconds: float = 0,
    allows_another: bool = False,
    if_lease_expired: bool = False,
) -> bool:
    """Count the attempt and record its error, in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_transferjob
            SET state = %(state)s, attempt = attempt + 1,
                attempt_limit = attempt_limit + %(allows_another)s::int,
                error_code = %(code)s, error_detail = %(detail)s,
                lease_expires_at = NULL, claimed_by = NULL,
                available_at = now() + make_interval(secs => %(delay)s),
                write_in_doubt_until = CASE WHEN %(may_still_land)s
                    THEN GREATEST(write_in_doubt_until, now() + make_interval(secs => %(doubt)s))
                    ELSE write_in_doubt_until END,
                finalized_at = CASE WHEN %(state)s = 'pending' THEN NULL ELSE now() END
            WHERE id = %(id)s AND state = 'running' AND token = %(token)s
              AND (NOT %(if_lease_expired)s OR lease_expires_at < now())
            """,
            {
                "state": state.value,
                "code": error.code.value,
                "detail": error.detail,
                "delay": delay_seconds,
                "may_still_land": error.may_still_land,
                # OSS may execute a request for as long as we would have waited for its answer.
                "doubt": settings.S3SYNC.read_timeout_seconds,
                "id": job.id,
                "token": job.token,
                "allows_another": allows_another,
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
    _count_attempt(job, error)
    return True


def _count_attempt(job: ClaimedJob, error: ReplicationError) -> None:
    """Add the attempt to the totals for metrics.

    Comes last in the transaction, so that the row is locked no longer than the commit takes.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO replication_triestotal AS sofar (rule_id, code, shard, tries)
            VALUES (%s, %s, pg_backend_pid() %% %s, 1)
            ON CONFLICT (rule_id, code, shard) DO UPDATE SET tries = sofar.tries + 1
            """,
            [job.rule_id, error.code.value, TRIES_SHARDS],
        )
