"""Records how a lane's jobs ended: many in one statement, each by itself where that fails."""

from collections.abc import Sequence
from functools import partial

import structlog
from django.db import DataError

from replication import jobs
from replication.cluster.database import Persistently
from replication.errors import (
    MEANINGS,
    Disposition,
    ErrorCode,
    HandOver,
    ReplicationError,
    RuleChanged,
)
from replication.jobs import ClaimedJob, JobOrder, circuits, rate_limits
from replication.models import (
    ArchivePolicy,
    JobOrigin,
    JobState,
    ReplicationRule,
)
from replication.transfer.results import Completion, DeleteHeld, DeleteWanted, LargeObject
from replication.worker.capacity import Rulebook
from replication.worker.leases import Finished

log = structlog.get_logger(__name__)

_HOPELESS = {Disposition.PERSON, Disposition.PERMANENT}


def settle_all(
    finished: Sequence[Finished], rulebook: Rulebook, persistently: Persistently
) -> None:
    """Settle these jobs, however long the database is away.

    A job that can't be recorded as it is does not take the others with it: it ends as failed.
    """
    try:
        persistently(partial(settle, finished, rulebook))
    except DataError:
        for end in finished:
            persistently(partial(_settle_alone, end, rulebook))


def settle(finished: Sequence[Finished], rulebook: Rulebook) -> None:
    """Settle these jobs, or give them back. A second call changes nothing more.

    A lane that lost its job during a write may have written after the job's next lane did, so the
    key is looked at again.

    Raises:
        DataError: one of them can't be recorded as it is.
    """
    completions = [(end.job, end.result) for end in finished if isinstance(end.result, Completion)]
    lost = _complete(completions, rulebook)
    jobs.await_confirmation([end.job for end in finished if isinstance(end.result, DeleteWanted)])
    for end in finished:
        if isinstance(end.result, DeleteHeld):
            jobs.await_confirmation([end.job], reason=end.result.reason)
    for end in finished:
        if isinstance(end.result, HandOver | RuleChanged):
            jobs.hand_over(end.job, size_bytes=end.size_bytes)
        elif isinstance(end.result, LargeObject):
            # This lane leads as many large objects as it may. Another lane will lead this one.
            jobs.hand_over(end.job, size_bytes=end.result.info.size_bytes)
        elif isinstance(end.result, ReplicationError):
            lost += _fail_attempt(end.job, end.result, rulebook)
    jobs.enqueue(
        [
            JobOrder(
                job.rule_id,
                job.key,
                ignores_filters=job.ignores_filters,
                only_tags=job.only_tags,
            )
            for job in lost
        ],
        origin=JobOrigin.LOST_LEASE,
        priority=jobs.PRIORITY_EVENT,
    )


def _settle_alone(end: Finished, rulebook: Rulebook) -> None:
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
    """Record completions; returns the jobs whose lease was lost."""
    completed = jobs.complete(completions)
    written = {job.rule_id for job, done in completions if done.outcome in circuits.WRITTEN}
    rulebook.note_success(written)
    if failing := rulebook.failing_circuits(written):
        circuits.note_success(failing)
        rulebook.expire()
    for job, done in completions:
        if job.claim in completed:
            log.info(
                "job.completed",
                job=job.id,
                rule=rulebook.of(job.rule_id).name,
                key=job.key,
                outcome=done.outcome.value,
                size_bytes=done.size_bytes,
            )
    return [job for job, _ in completions if job.claim not in completed]


def _fail_attempt(job: ClaimedJob, error: ReplicationError, rulebook: Rulebook) -> list[ClaimedJob]:
    """Record an unsuccessful attempt; returns the job if its lease was lost."""
    rule = rulebook.of(job.rule_id)
    state = apply_error(job, rule, error)
    if circuits.has_circuit(error):
        rulebook.note_failure(rule.pk)
        rulebook.expire()  # a circuit may have opened
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
    """Settle the job as its error's disposition says; None if its lease was lost.

    An error that may concern more than the object is recorded as evidence about its scope. Only an
    unknown error uses up a try. An error that no retry can help counts only under the rule as it is
    now. A refusal that may concern the whole rule fails the job only while others succeed.
    """
    if error.code is ErrorCode.SOURCE_RESTORING:
        return jobs.await_restore(job, error)
    if error.disposition in _HOPELESS and jobs.outdated([job]):
        return JobState.PENDING if jobs.hand_over(job) else None
    is_open = circuits.has_circuit(error) and circuits.note_error(rule, job.key, error)
    ends = MEANINGS[error.code].ends_the_job and not _will_be_restored(rule, error)
    if ends and not is_open:
        return jobs.fail(job, error)
    if error.code is ErrorCode.DESTINATION_THROTTLED:
        rate_limits.note_throttled(rule.destination_id, seconds=error.retry_after_seconds)
    return jobs.retry_later(job, error, uses_up_a_try=error.disposition is Disposition.BOUNDED)


def _will_be_restored(rule: ReplicationRule, error: ReplicationError) -> bool:
    """Whether the next try has the object restored again.

    This happens in the middle of a large object, when an earlier restore has expired.
    """
    return error.code is ErrorCode.SOURCE_ARCHIVED and rule.archive_policy == ArchivePolicy.RESTORE
