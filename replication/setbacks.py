"""What an unsuccessful try means: for its job, for its rule, and for its destination."""

from replication import jobs, pace, parking
from replication.errors import Disposition, ErrorCode, ReplicationError
from replication.jobs import ClaimedJob
from replication.models import JobState, ReplicationRule


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
    if error.code is ErrorCode.SOURCE_CHANGED:
        # Not a failure: what is there now is copied next.
        return jobs.retry_later(job, error, uses_up_a_try=False)
    if error.code is ErrorCode.DESTINATION_THROTTLED:
        pace.note_throttled(rule.destination_id, seconds=error.retry_after_seconds)
        return jobs.retry_later(job, error, uses_up_a_try=False)
    return jobs.retry_later(job, error)
