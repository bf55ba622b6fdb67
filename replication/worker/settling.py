"""Writes down what became of a lane's jobs: many in one statement, and each apart if need be."""

from collections.abc import Sequence

import structlog
from django.db import DataError

from replication import jobs
from replication.errors import Disposition, ErrorCode, HandOver, ReplicationError
from replication.jobs import ClaimedJob, JobOrder, parking, rate_limits
from replication.models import ArchivePolicy, JobOrigin, JobState, Outcome, ReplicationRule
from replication.transfer.results import Completion, DeleteWanted, LargeObject
from replication.worker.capacity import Rulebook
from replication.worker.leases import Finished

log = structlog.get_logger(__name__)

_WRITTEN = {Outcome.COPIED, Outcome.DELETED, Outcome.UNCHANGED}
_HOPELESS = {Disposition.PERSON, Disposition.PERMANENT}
# Of a changed object, what is there now is copied next; a throttling is of everybody's making.
_NO_FAILURES = {ErrorCode.SOURCE_CHANGED, ErrorCode.DESTINATION_THROTTLED}


def settle(finished: Sequence[Finished], rulebook: Rulebook) -> None:
    """Settle these jobs, or give them back; to do it twice changes nothing more.

    Whoever lost a job while it wrote may have written after its heir: somebody looks again.

    Raises:
        DataError: one of them can't be recorded as it is; `settle_alone` finds out which.
    """
    completions = [(end.job, end.result) for end in finished if isinstance(end.result, Completion)]
    lost = _complete(completions, rulebook)
    jobs.await_confirmation([end.job for end in finished if isinstance(end.result, DeleteWanted)])
    for end in finished:
        if isinstance(end.result, HandOver):
            jobs.hand_over(end.job, size_bytes=end.size_bytes)
        elif isinstance(end.result, LargeObject):
            # This lane leads as many as it may; another will.
            jobs.hand_over(end.job, size_bytes=end.result.info.size_bytes)
        elif isinstance(end.result, ReplicationError):
            lost += _set_back(end.job, end.result, rulebook)
    jobs.enqueue(
        [JobOrder(job.rule_id, job.key) for job in lost],
        origin=JobOrigin.LOST_LEASE,
        priority=jobs.PRIORITY_EVENT,
    )


def settle_alone(end: Finished, rulebook: Rulebook) -> None:
    """Settle one job, as unsuccessful if its completion can't be recorded."""
    try:
        settle([end], rulebook)
    except DataError as error:
        log.exception("job.not_recorded", job=end.job.id, key=end.job.key)
        reason = f"what the stores answered can't be recorded: {type(error.__cause__).__name__}"
        settle([Finished(end.job, ReplicationError(ErrorCode.UNEXPECTED, reason))], rulebook)


def _complete(
    completions: Sequence[tuple[ClaimedJob, Completion]], rulebook: Rulebook
) -> list[ClaimedJob]:
    """Returns those that were not ours any more."""
    completed = jobs.complete(completions)
    written = {job.rule_id for job, done in completions if done.outcome in _WRITTEN}
    rulebook.prove(written)
    for rule_id in written:
        if rulebook.of(rule_id).errors_in_a_row:
            parking.note_success(rule_id)
            rulebook.expire()
    for job, done in completions:
        if job.id in completed:
            log.info(
                "job.completed",
                job=job.id,
                rule=rulebook.of(job.rule_id).name,
                key=job.key,
                outcome=done.outcome.value,
                size_bytes=done.size_bytes,
            )
    return [job for job, _ in completions if job.id not in completed]


def _set_back(job: ClaimedJob, error: ReplicationError, rulebook: Rulebook) -> list[ClaimedJob]:
    """Returns the job if it was not ours any more."""
    rule = rulebook.of(job.rule_id)
    state = apply_error(job, rule, error)
    if error.disposition is Disposition.PERSON:
        rulebook.doubt(rule.pk)
    rulebook.expire()  # it may have been parked
    log.warning(
        "job.try_failed",
        job=job.id,
        rule=rule.name,
        key=job.key,
        code=error.code.value,
        detail=error.detail,
        state=state.value if state else "lease lost",
    )
    return [] if state else [job]


def apply_error(job: ClaimedJob, rule: ReplicationRule, error: ReplicationError) -> JobState | None:
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
