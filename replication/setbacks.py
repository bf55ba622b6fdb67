"""What an unsuccessful try means: for its job, for its rule, and for its destination."""

from datetime import timedelta

from django.db.models import F
from django.db.models.functions import Greatest, Now

from replication import jobs, parking
from replication.errors import Disposition, ErrorCode, ReplicationError
from replication.jobs import ClaimedJob
from replication.models import Destination, JobState, ReplicationRule

# How long a destination is left alone that asks for fewer requests and does not say for how long.
THROTTLED_SECONDS = 1.0


def settle(job: ClaimedJob, rule: ReplicationRule, error: ReplicationError) -> JobState | None:
    """Settle the job as its error's disposition says; None if the job was not ours any more.

    What holds up the whole rule or destination is noted there, and uses up none of the job's tries.
    """
    if error.disposition is Disposition.PERSON:
        if parking.note_error(rule.pk, error):
            return jobs.retry_later(job, error, uses_up_a_try=False)
        return jobs.fail(job, error)
    if error.disposition is Disposition.PERMANENT:
        return jobs.fail(job, error)
    if error.code is ErrorCode.DESTINATION_THROTTLED:
        _throttle(rule.destination_id, seconds=error.retry_after_seconds or THROTTLED_SECONDS)
        return jobs.retry_later(job, error, uses_up_a_try=False)
    return jobs.retry_later(job, error)


def _throttle(destination_id: int, *, seconds: float) -> None:
    """Keep all lanes of all processes from the destination until the server's time is over."""
    until = Now() + timedelta(seconds=seconds)
    Destination.objects.filter(pk=destination_id).update(
        throttled_until=Greatest(F("throttled_until"), until)
    )
