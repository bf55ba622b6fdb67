"""running → what comes after a try that did not succeed, or was not to be finished."""

import random
from functools import partial
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Subquery
from django.db.models.functions import Greatest, Least, Now

from replication.errors import ErrorCode, ReplicationError
from replication.jobs.claiming import ClaimedJob
from replication.models import JobState, TransferAttempt, TransferJob

# A lane keeps its connection, so that few share a row of the totals.
TRIES_SHARDS = 16


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
            bequeath(job)
        return JobState.SUPERSEDED if moved else None


def fail(job: ClaimedJob, error: ReplicationError) -> JobState | None:
    """running → failed."""
    with transaction.atomic():
        return JobState.FAILED if _end_try(job, error, state=JobState.FAILED) else None


def hand_over(job: ClaimedJob, *, size_bytes: int | None = None) -> bool:
    """running → pending, due at once, the attempt unchanged: the lane has to end, or has no place
    for an object of this size.

    superseded instead, if another job of the key waits.
    """
    ours = TransferJob.objects.filter(id=job.id, state=JobState.RUNNING, attempt=job.attempt)
    free: dict[str, Any] = {"lease_expires_at": None, "claimed_by": None}
    try:
        with transaction.atomic():
            moved = ours.update(
                state=JobState.PENDING, available_at=Now(), size_bytes=size_bytes, **free
            )
    except IntegrityError:
        with transaction.atomic():
            moved = ours.update(state=JobState.SUPERSEDED, finalized_at=Now(), **free)
            bequeath(job)
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


def backoff_seconds(attempt: int, *, hint_seconds: float = 0) -> float:
    """Exponential backoff with full jitter, never less than the server's own hint.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    ceiling = min(
        settings.S3SYNC.retry_cap_seconds,
        settings.S3SYNC.retry_base_seconds * 2.0 ** min(attempt, 32),
    )
    return hint_seconds + random.uniform(0, ceiling)  # noqa: S311 - spreads load, guards nothing


def bequeath(job: ClaimedJob) -> None:
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
    _count_try(job, error)
    return True


def _count_try(job: ClaimedJob, error: ReplicationError) -> None:
    """Add it up for the metrics; last, so that its row is locked for no longer than the commit."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO replication_triestotal AS sofar (rule_id, code, shard, tries)
            VALUES (%s, %s, pg_backend_pid() %% %s, 1)
            ON CONFLICT (rule_id, code, shard) DO UPDATE SET tries = sofar.tries + 1
            """,
            [job.rule_id, error.code.value, TRIES_SHARDS],
        )
