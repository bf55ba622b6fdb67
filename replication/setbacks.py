"""What an unsuccessful try means: for its job, for its rule, and for its destination."""

from replication import jobs
from replication.errors import Disposition, ErrorCode, ReplicationError
from replication.jobs import ClaimedJob, parking, rate_limits
from replication.models import ArchivePolicy, JobState, ReplicationRule

_HOPELESS = {Disposition.PERSON, Disposition.PERMANENT}
# Of a changed object, what is there now is copied next; a throttling is of everybody's making.
_NO_FAILURES = {ErrorCode.SOURCE_CHANGED, ErrorCode.DESTINATION_THROTTLED}


def settle(job: ClaimedJob, rule: ReplicationRule, error: ReplicationError) -> JobState | None:
    """Settle the job as its error's disposition says; None if the job was not ours any more.

    What holds up the whole rule or destination is noted there, and uses up none of the job's tries.
    """
    if error.code is ErrorCode.SOURCE_RESTORING:
        return jobs.await_restore(job, error)
    if error.disposition is Disposition.PERSON and parking.note_error(rule.pk, error):
        return jobs.retry_later(job, error, uses_up_a_try=False)
    if error.disposition in _HOPELESS and not _will_be_restored(rule, error):
        return jobs.fail(job, error)
    if error.code is ErrorCode.DESTINATION_THROTTLED:
        rate_limits.note_throttled(rule.destination_id, seconds=error.retry_after_seconds)
    return jobs.retry_later(job, error, uses_up_a_try=error.code not in _NO_FAILURES)


def _will_be_restored(rule: ReplicationRule, error: ReplicationError) -> bool:
    """Only in the middle of a large object, when what was restored has expired: the next try has
    it restored again."""
    return error.code is ErrorCode.SOURCE_ARCHIVED and rule.archive_policy == ArchivePolicy.RESTORE
